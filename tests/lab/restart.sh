# Sourced after lib.sh, with IKE set: our daemon stops or is killed, on the side that began and on the
# other. Each time one new AH pair stands, nothing passes in clear meanwhile, and TCP flows.
hosts a b
capture wire
PROPOSALS='"aes256-sha256-ecp256"'
for host in a b; do
  firewall $host v4 a b
  start_tunnels $host v4 "$KEY" a b
done
until_true 60 one_pair a 10.0.0.2 || fail "not up: $(tutti_on a tunnels)"
until_true 60 one_pair b 10.0.0.1 || fail "not up: $(tutti_on b tunnels)"
for host in a b; do
  for signal in TERM KILL; do
    before=$(outbound a 10.0.0.2)
    kill_role $host ike $signal
    reaches a b 10.0.0.2 443 || fail "the standing SAs went with ike of $host ($signal)"
    role $host ike --desired /tmp/n/$host/desired.toml
    until_true 60 renewed a 10.0.0.2 "$before" || fail "$host $signal: $(tutti_on a tunnels)"
    until_true 60 one_pair b 10.0.0.1 || fail "$host $signal: $(tutti_on b tunnels)"
    until_true 30 reaches b a 10.0.0.1 443 8 || fail "no TCP after $signal of $host"
    mark "$signal of $host"
  done
done
end_capture wire
only_ipsec wire
