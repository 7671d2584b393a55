# A node whose peer is strongSwan, over IPv4 and IPv6, with the appliance's rules: at boot, after
# `kill -9` of ike, of keyer and of charon, and after a flush of SAs and of policies TCP crosses in AH
# or not at all, in either direction.
. "$LAB/strongswan.sh"
hosts a b
capture wire
# stays_shut WORDS: nothing comes through, neither there nor back.
stays_shut() {
  none_reaches a b $B 443 && none_reaches b a $own 443 || fail "$family: TCP passed with $1"
  mark "$family: nothing passed with $1"
}
crosses() {
  until_true 60 one_pair a $B || fail "$family, $1: not one pair: $(tutti_on a tunnels)"
  until_true 60 reaches a b $B 443 8 || fail "$family, $1: no TCP: $(tutti_on a tunnels)"
  until_true 60 reaches b a $own 443 8 || fail "$family, $1: no TCP back: $(tutti_on a tunnels)"
  states wire
  mark "$family: $1"
}
policies() { [ "$(ip -n a xfrm policy | grep -c '^src')" = "$1" ]; }
for family in v4 v6; do
  own=$($family a) B=$($family b)
  firewall a $family a b
  stays_shut "the rules alone"
  start_keyer a
  stays_shut "rules and policies"
  charon_anew $family
  desired a $family "$KEY" a b
  role a ike --desired /tmp/n/a/desired.toml
  crosses "boot"

  before=$(outbound a $B)
  kill_role a ike KILL
  reaches a b $B 443 || fail "$family: the standing SAs went with ike"
  role a ike --desired /tmp/n/a/desired.toml
  until_true 60 renewed a $B "$before" || fail "$family: not renewed: $(tutti_on a tunnels)"
  crosses "ike killed"

  kill_role a keyer KILL
  reaches a b $B 443 || fail "$family: the standing SAs went with keyer"
  start_keyer a
  before=$(outbound a $B)
  ip -n a xfrm state flush
  # What waits to be sent asks for an SA.
  reaches a b $B 443 8
  until_true 60 renewed a $B "$before" || fail "$family: not renewed: $(tutti_on a tunnels)"
  crosses "keyer killed and SAs flushed"

  held=$(ip -n a xfrm policy | grep -c '^src')
  kill -STOP "$(role_pid a keyer)"
  ip -n a xfrm policy flush
  stays_shut "the rules alone, policies flushed"
  kill -CONT "$(role_pid a keyer)"
  until_true 60 policies "$held" || fail "$family: policies stay lost: $(ip -n a xfrm policy)"
  crosses "policies flushed"

  kill_role b charon KILL
  reaches a b $B 443 || fail "$family: the standing SAs went with charon"
  before=$(outbound a $B)
  forget b
  stays_shut "no SA at the peer"
  charon_anew $family
  until_true 90 renewed a $B "$before" || fail "$family: not renewed: $(tutti_on a tunnels)"
  crosses "charon killed"

  for one in ike keyer; do kill_role a $one KILL; done
  kill_role b charon KILL
  reaches a b $B 443 || fail "$family: the standing SAs went with all of them"
  forget a b
  stays_shut "the rules alone, at last"
  on a nft flush ruleset
  rm -f /tmp/n/a/run/*.sock
done
end_capture wire
# While strongSwan is away its kernel has no policies: what ours sends is judged.
only_ipsec wire '(src host 10.0.0.1 or src host fd00::1)'
