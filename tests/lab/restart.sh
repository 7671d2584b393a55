# Sourced after lib.sh, with IKE and FAMILY set: our daemon stops or is killed, on the side that began
# and on the other. Each time one new AH pair stands, nothing passes in clear meanwhile, and TCP flows.
hosts a b
A=$($FAMILY a) B=$($FAMILY b)
capture wire
PROPOSALS='"aes256-sha256-ecp256"'
for host in a b; do
  firewall $host $FAMILY a b
  start_tunnels $host $FAMILY "$KEY" a b
done
until_true 60 one_pair a $B || fail "not up: $(tutti_on a tunnels)"
until_true 60 one_pair b $A || fail "not up: $(tutti_on b tunnels)"
for host in a b; do
  for signal in TERM KILL; do
    before=$(outbound a $B)
    kill_role $host ike $signal
    reaches a b $B 443 || fail "the standing SAs went with ike of $host ($signal)"
    role $host ike --desired /tmp/n/$host/desired.toml
    until_true 60 renewed a $B "$before" || fail "$host $signal: $(tutti_on a tunnels)"
    until_true 60 one_pair b $A || fail "$host $signal: $(tutti_on b tunnels)"
    until_true 30 reaches b a $A 443 8 || fail "no TCP after $signal of $host"
    mark "$signal of $host"
  done
done
end_capture wire
only_ipsec wire
