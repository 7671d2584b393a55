# SAs and policies that somebody flushes come back while ike and keyer live. Killing ike and keyer leaves
# policies and SAs; flushing those from the kernel too leaves the nftables rules: at no point does a
# clear packet pass. With roles back, traffic is back. The kills over IPv4 and over IPv6.
hosts a b
capture wire
up() {
  for pair in "a $B" "b $A"; do
    until_state 60 $pair Up || fail "$family: no tunnel: $(tutti_on a tunnels; tutti_on b tunnels)"
  done
  until_true 40 reaches a b $B 443 10 || fail "$family: no TCP through the rules and AH"
}
policies() { [ "$(ip -n a xfrm policy | grep -c '^src')" = "$1" ]; }
flushed_alive() {
  ip -n a xfrm state flush
  until_true 60 reaches a b $B 443 10 || fail "SAs stay lost: $(tutti_on a tunnels)"
  until_true 60 one_pair a $B || fail "not one pair: $(tutti_on a tunnels)"
  held=$(ip -n a xfrm policy | grep -c '^src')
  ip -n a xfrm policy flush
  until_true 60 policies "$held" || fail "policies stay lost: $(ip -n a xfrm policy)"
  reaches a b $B 443 || fail "no TCP after the policies came back"
}
killed() {
  for host in a b; do
    kill_role $host ike KILL
    kill_role $host keyer KILL
  done
}
for family in v4 v6; do
  A=$($family a) B=$($family b)
  for host in a b; do
    firewall $host $family a b
    start_tunnels $host $family "$KEY" a b
  done
  up
  [ $family = v6 ] || flushed_alive
  killed
  reaches a b $B 443 || fail "$family: the standing SAs went with the daemons"
  states wire
  for host in a b; do ip -n $host xfrm state flush; done
  reaches a b $B 443 3 && fail "$family: TCP passed with policies and no SA"
  for host in a b; do ip -n $host xfrm policy flush; done
  none_reaches a b $B 443 9000 && none_reaches b a $A 443 ||
    fail "$family: TCP passed with the rules alone"
  for host in a b; do start_tunnels $host $family "$KEY" a b; done
  up
  mark "$family: back"
  killed
  for host in a b; do
    ip -n $host xfrm state flush
    ip -n $host xfrm policy flush
  done
done
end_capture wire
only_ipsec wire
