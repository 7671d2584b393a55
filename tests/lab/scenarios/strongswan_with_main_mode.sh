# IKEv1 with strongSwan: main mode and quick mode with a pre-shared key, every group and hash begun by
# us and by strongSwan, over IPv4 and IPv6, with and without PFS, and its replacement of the pair; then
# strongSwan rekeys after both began at once, and deletes. Where both begin at once, its main mode
# mostly comes again when ours is done: it then replaces two AH pairs, each under its own ISAKMP SA,
# of which one must go, with the pairs under it, while what we send goes by another. Which came
# first the clock decides, so it is said, and not demanded; `v1/tests/beside_charon.rs` plays all.
. "$LAB/strongswan.sh"
hosts a b
charon b
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
stands() { pairs | grep -qx "$1"; }
replaced() { rekeyed "$1" || ! stands "$1"; }
# rekey_pairs WORDS: strongSwan replaces each pair that it has. Of two that crossed one may go
# meanwhile.
rekey_pairs() {
  local pair
  for pair in $(pairs); do
    swan b --rekey --child-id "$pair" > "$OUT/rekey" 2>&1 || ! stands "$pair" ||
      fail "rekey with $1 failed"
    until_true 20 replaced "$pair" || fail "$1: pair $pair was not replaced"
  done
}
capture wire
turn=0
for proposal in aes256-sha256-modp4096 aes256-sha256-ecp256 aes256-sha384-ecp384 \
  aes256-sha384-modp2048 aes256-sha512-modp3072; do
  PROPOSALS="\"$proposal\"" SWAN_PROPOSALS=$proposal
  case $((turn % 3)) in 0) hash=sha256 ;; 1) hash=sha512 ;; 2) hash=sha384 ;; esac
  AH_PROPOSALS="\"$hash\""
  PFS=true SWAN_AH=$hash-${proposal##*-}-esn-noesn
  [ $((turn % 3)) != 2 ] || PFS=false SWAN_AH=$hash-esn-noesn
  if [ $((turn % 2)) = 0 ]; then ours=v4 theirs=v6; else ours=v6 theirs=v4; fi
  turn=$((turn + 1))
  begin_anew ours $ours
  begin_anew theirs $theirs
  rekey_pairs "$proposal"
  has_state a "$($theirs b)" Up || fail "down after the rekey: $(tutti_on a tunnels)"
  tcp_crosses b a "$($theirs a)" || fail "no TCP after the rekey with $proposal"
done
mark 'both at once'
kill_role a ike
swan b --terminate --ike peer --force > /dev/null 2>&1
release
a_is 1
peers_json a v4 a b
desired a v4 "$KEY" a b
swan_peer b v4 "$KEY" a start
role a ike --desired /tmp/n/a/desired.toml
until_state 60 a 10.0.0.2 Up || fail "not up: $(tutti_on a tunnels)"
until_true 20 crossed && mark "two main modes crossed" || mark "they did not cross this time"
rekey_pairs 'both at once'
until_true 40 one_of_each || fail "two stay side by side"
has_state a 10.0.0.2 Up || fail "down after the rekey: $(tutti_on a tunnels)"
tcp_crosses b a 10.0.0.1 || fail "no TCP after the rekey"
swan b --terminate --ike peer > "$OUT/terminate-ike" 2>&1 || fail "no terminate --ike"
until_state 60 a 10.0.0.2 Up || fail "not renewed: $(tutti_on a tunnels)"
until_true 20 tcp_crosses a b 10.0.0.2 || fail "no TCP after the ISAKMP SA was deleted"
end_capture wire
only_ipsec wire
