# IKEv1 with strongSwan: main mode and quick mode with a pre-shared key, both as initiator, with and
# without PFS; strongSwan rekeys, deletes and dies. Where both begin at once, strongSwan's main mode
# mostly comes again when ours is done: it then replaces two AH pairs, each under its own ISAKMP SA,
# of which one must go, with the pairs under it, while what we send goes by another. Which came
# first the clock decides, so it is said, and not demanded; `v1/tests/beside_charon.rs` plays all.
. "$LAB/strongswan.sh"
hosts a b
charon b
peers_json a v4 a b
start_keyer a
IKE=v1 SWAN_VERSION=1
established() { [ "$(swan b --list-sas | grep -c ' ESTABLISHED, IKEv1')" = "$1" ]; }
one_of_each() { established 1 && [ "$(swan b --list-sas | grep -c 'INSTALLED, TRANSPORT')" = 1 ]; }
# Its AH pairs, those under the ISAKMP SA that we began last: that one goes.
pairs() {
  swan b --list-sas | awk '/ESTABLISHED/ { ours = /_r\*/ }
    / ah: #.* INSTALLED/ { print ours, substr($2, 2) + 0 }' | sort -n | cut -d' ' -f2
}
crossed() { established 2 && [ "$(pairs | wc -l)" = 2 ]; }
rekeyed() { swan b --list-sas | grep -q "ah: #$1, .*REKEYED"; }
turn=0
for proposal in aes256-sha256-modp4096 aes256-sha256-ecp256 aes256-sha512-modp3072; do
  turn=$((turn + 1))
  mark "$proposal"
  PROPOSALS="\"$proposal\""
  SWAN_PROPOSALS=$proposal
  if [ $((turn % 2)) = 0 ]; then
    PFS=false SWAN_AH=sha256-esn-noesn start=start
  else
    PFS=true SWAN_AH=sha256-${proposal##*-}-esn-noesn start=none
  fi
  desired a v4 "$KEY" a b
  [ $turn = 1 ] || kill_role a ike
  swan b --terminate --ike peer --force > /dev/null 2>&1
  swan_peer b v4 "$KEY" a $start
  role a ike --desired /tmp/n/a/desired.toml
  until_state 60 a 10.0.0.2 Up || fail "$proposal not up: $(tutti_on a tunnels)"
  swan b --list-sas | grep -q 'TRANSPORT, AH:HMAC_SHA2_256_128' || fail "$(swan b --list-sas)"
  tcp_crosses a b 10.0.0.2 || fail "no TCP with $proposal"
  if [ $start = start ]; then
    until_true 20 crossed && mark "two main modes crossed" || mark "they did not cross this time"
  fi
  for pair in $(pairs); do
    swan b --rekey --child-id "$pair" > "$OUT/rekey-$turn" 2>&1 || fail "rekey with $proposal failed"
    until_true 20 rekeyed "$pair" || fail "pair $pair was not replaced"
  done
  [ $start = none ] || until_true 40 one_of_each || fail "two stay side by side"
  has_state a 10.0.0.2 Up || fail "down after the rekey: $(tutti_on a tunnels)"
  tcp_crosses b a 10.0.0.1 || fail "no TCP after the rekey with $proposal"
done
swan b --terminate --ike peer > "$OUT/terminate-ike" 2>&1 || fail "no terminate --ike"
until_state 60 a 10.0.0.2 Up || fail "not renewed: $(tutti_on a tunnels)"
until_true 20 tcp_crosses a b 10.0.0.2 || fail "no TCP after the ISAKMP SA was deleted"
