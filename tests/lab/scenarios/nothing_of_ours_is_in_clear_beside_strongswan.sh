# A node whose peer is strongSwan, over IPv4 and IPv6, with the appliance's rules: at boot, after
# `kill -9` of ike, of keyer and of charon, and after a flush of SAs and of policies TCP crosses in AH
# or not at all.
. "$LAB/strongswan.sh"
hosts a b
capture wire
crosses() {
  until_true 60 reaches a b $B 443 8 || fail "$family, $1: no TCP: $(tutti_on a tunnels)"
  until_true 60 one_pair a $B || fail "$family, $1: not one pair: $(ip -n a xfrm state)"
  states wire
  mark "$family, $1"
}
start_charon() {
  rm -f /tmp/n/b/vici
  charon b
  swan_peer b $family "$KEY" a
}
for family in v4 v6; do
  B=$($family b)
  start_charon
  firewall a $family a b
  reaches a b $B 443 3 && fail "$family: TCP passed with the rules alone"
  start_keyer a
  reaches a b $B 443 3 && fail "$family: TCP passed with rules and policies"
  mark "$family: nothing passed before any SA"
  desired a $family "$KEY" a b
  role a ike --desired /tmp/n/a/desired.toml
  crosses "boot"
  kill_role a ike KILL
  reaches a b $B 443 || fail "$family: the standing SAs went with ike"
  role a ike --desired /tmp/n/a/desired.toml
  crosses "ike killed"
  kill_role a keyer KILL
  reaches a b $B 443 || fail "$family: the standing SAs went with keyer"
  start_keyer a
  crosses "keyer killed"
  kill_role b charon KILL
  reaches a b $B 443 || fail "$family: the standing SAs went with charon"
  ip -n b xfrm state flush
  ip -n b xfrm policy flush
  reaches a b $B 443 3 && fail "$family: TCP passed with no SA at the peer"
  start_charon
  crosses "charon killed"
  ip -n a xfrm state flush
  crosses "SAs flushed"
  held=$(ip -n a xfrm policy | grep -c '^src')
  ip -n a xfrm policy flush
  reaches a b $B 443 3
  until_true 60 sh -c "[ \$(ip -n a xfrm policy | grep -c '^src') = $held ]" ||
    fail "$family: policies stay lost: $(ip -n a xfrm policy)"
  crosses "policies flushed"
  for role in ike keyer; do kill_role a $role KILL; done
  kill_role b charon KILL
  reaches a b $B 443 || fail "$family: the standing SAs went with all of them"
  for host in a b; do
    ip -n $host xfrm state flush
    ip -n $host xfrm policy flush
  done
  reaches a b $B 443 3 && fail "$family: TCP passed with the rules alone, at last"
  on a nft flush ruleset
  rm -f /tmp/n/a/run/*.sock
done
end_capture wire
# While strongSwan is away its kernel has no policies: what ours sends is judged.
only_ipsec wire '(src host 10.0.0.1 or src host fd00::1)'
