# In the order of a boot: the rules alone, then `keyer` with policies and no SA, then `ike`. TCP is
# tried all the while from both sides; the first packet that crosses is AH. Over IPv4, over IPv6, and
# over IPv4 once more with the policies alone, without the rules.
hosts a b
# round FAMILY: from here on, captured anew.
round() {
  family=$1 A=$($1 a) B=$($1 b)
  rm -f "$OUT/wire.pcap"
  capture wire
}
tried() {
  local there back
  reaches a b $B 443 3 &
  there=$!
  reaches b a $A 443 3 &
  back=$!
  never_came $there $back || fail "$family: TCP passed, or was not tried, with $1"
  captured wire 'ip proto 51 or ip6 proto 51' && fail "$family: AH before any SA"
  captured wire 'tcp or ip6 proto 6' && fail "$family: a clear packet with $1"
  mark "$family, $1: nothing passed"
}
up() {
  for host in a b; do
    desired $host $family "$KEY" a b
    role $host ike --desired /tmp/n/$host/desired.toml
  done
  until_true 60 one_pair a $B || fail "$family: not up: $(tutti_on a tunnels)"
  until_true 60 one_pair b $A || fail "$family: not up: $(tutti_on b tunnels)"
  until_true 30 reaches a b $B 443 8 || fail "$family: no TCP"
  end_capture wire
  only_ipsec wire
}
off() {
  for host in a b; do
    for role in ike keyer; do kill_role $host $role KILL; done
    on $host nft flush ruleset
    ip -n $host xfrm state flush
    ip -n $host xfrm policy flush
    rm -f /tmp/n/$host/run/*.sock
  done
}
for family in v4 v6; do
  round $family
  for host in a b; do firewall $host $family a b; done
  tried "the rules alone"
  for host in a b; do start_keyer $host; done
  tried "rules and policies"
  up
  off
done
round v4
for host in a b; do
  peers_json $host v4 a b
  start_keyer $host
done
tried "the policies alone"
up
