# In the order of a boot: the rules alone, then `keyer` with policies and no SA, then `ike`. TCP is
# tried all the while from both sides; the first packet that crosses is AH. The same once more with
# the policies alone, without the rules.
hosts a b
capture wire
tried() {
  local there back
  reaches a b 10.0.0.2 443 3 &
  there=$!
  reaches b a 10.0.0.1 443 3 &
  back=$!
  wait $there && fail "TCP passed with $1"
  wait $back && fail "TCP passed with $1"
  captured wire 'ip proto 51' && fail "AH before any SA"
  captured wire tcp && fail "a clear packet with $1"
  mark "$1: nothing passed"
}
up() {
  for host in a b; do
    desired $host v4 "$KEY" a b
    role $host ike --desired /tmp/n/$host/desired.toml
  done
  until_true 60 one_pair a 10.0.0.2 || fail "not up: $(tutti_on a tunnels)"
  until_true 60 one_pair b 10.0.0.1 || fail "not up: $(tutti_on b tunnels)"
  until_true 30 reaches a b 10.0.0.2 443 8 || fail "no TCP"
}
for host in a b; do firewall $host v4 a b; done
tried "the rules alone"
for host in a b; do start_keyer $host; done
tried "rules and policies"
up
end_capture wire
only_ipsec wire
mark "again, with policies alone"
for host in a b; do
  for role in ike keyer; do kill_role $host $role KILL; done
  on $host nft flush ruleset
  ip -n $host xfrm state flush
  ip -n $host xfrm policy flush
  rm -f /tmp/n/$host/run/*.sock
done
rm "$OUT/wire.pcap"
capture wire
for host in a b; do start_keyer $host; done
tried "the policies alone"
up
end_capture wire
only_ipsec wire
