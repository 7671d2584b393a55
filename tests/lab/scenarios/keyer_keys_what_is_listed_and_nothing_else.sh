# keyer installs AH between two listed peers, a TCP stream crosses as protocol 51 alone, and a
# request for anybody else is refused. SAs and policies outlive keyer; leaving the list ends them.
# What waits for a key in vain is forgotten when keyer starts, which keyed SAs do not hinder. Policies
# that go are put back, also where the kernel has no room to tell keyer of it.
hosts a b c
one=$(printf '11%.0s' $(seq 32)) two=$(printf '22%.0s' $(seq 32))
for host in a b; do
  peers_json $host v4 a b
  start_keyer $host
done
[ "$(ip -n a xfrm policy | grep -c '^src')" = 6 ] || fail "not six policies on a"
ask() { local host=$1; shift; "$LAB/keyer.py" "/tmp/n/$host/run/keyer.sock" "$@"; }

capture static
tcp_crosses a b 10.0.0.2 3 && fail "a stream crossed without any SA"
# The larval state of that attempt must not stand in the way.
ask a install 10.0.0.2 0x1001 out "$one" || fail "outbound SA on a"
ask a install 10.0.0.2 0x1002 in "$two" || fail "inbound SA on a"
ask b install 10.0.0.1 0x1001 in "$one" || fail "inbound SA on b"
ask b install 10.0.0.1 0x1002 out "$two" || fail "outbound SA on b"
ip -n a xfrm state
tcp_crosses a b 10.0.0.2 || fail "no stream through AH"
ip netns exec a ping -c1 -W5 10.0.0.2 > /dev/null || fail "ICMP does not pass"
end_capture static
only_ipsec static

ask a install 10.0.0.9 0x1003 out "$one" && fail "keyed a peer that is not listed"
ask a install 10.0.0.2 255 out "$one" && fail "took a reserved SPI"
ask a install 10.0.0.2 0x2001 out "$one" || fail "second outbound SA"
[ "$(ip -n a xfrm state | grep -c '^src 10.0.0.1 dst 10.0.0.2')" = 1 ] || fail "two outbound SAs"

kill_role a keyer KILL
[ "$(ip -n a xfrm policy | grep -c '^src')" = 6 ] || fail "policies went with keyer"
ip -n a xfrm state | grep -q 0x00002001 || fail "SAs went with keyer"
start_keyer a
# ike asks again what the keyer before did not answer.
ask a install 10.0.0.2 0x2001 out "$one" || fail "an SA that stands already is refused"
ask a install 10.0.0.2 0x2001 out "$two" && fail "an SA that stands got another key"

larval() { ip -n a xfrm state | grep -c 'spi 0x00000000'; }
peers_json a v4 a b c
ask a reload || fail "reload with another peer"
reaches a c 10.0.0.3 9000 2 && fail "a stream reached c without any SA"
[ "$(larval)" = 1 ] || fail "traffic to c waits for no SA"
kill_role a keyer KILL
[ "$(larval)" = 1 ] || fail "what waits went with keyer"
start_keyer a
[ "$(larval)" = 0 ] || fail "traffic to c could not ask again"
ip -n a xfrm state | grep -q 0x00002001 || fail "a keyed SA went with it"
[ "$(ip -n a xfrm state | grep -c '^src')" = 2 ] || fail "not the two keyed SAs of b"

policies() { [ "$(ip -n a xfrm policy | grep -c '^src')" = "$1" ]; }
held=$(ip -n a xfrm policy | grep -c '^src')
kill -STOP "$(role_pid a keyer)"
for n in $(seq 4000); do
  echo "xfrm policy add src 10.9.$((n / 250)).$((n % 250)) dst 10.8.0.1 dir out action allow"
done > /tmp/policies
ip -n a -batch /tmp/policies || fail "no other policies"
on a awk '$2 == 6 && $9 > 0' /proc/net/netlink | grep -q . || fail "the kernel had room for all"
ip -n a xfrm policy flush
kill -CONT "$(role_pid a keyer)"
until_true 20 policies "$held" || fail "policies stay lost: $(ip -n a xfrm policy)"

rm /tmp/n/a/run/peers.json
ask a reload || fail "reload"
[ -z "$(ip -n a xfrm policy)$(ip -n a xfrm state)" ] || fail "something stayed after leaving"
