# IKEv1 with strongSwan: main mode and quick mode with a pre-shared key, both as initiator, with and
# without PFS; strongSwan rekeys, deletes and dies.
. "$LAB/strongswan.sh"
hosts a b
charon b
peers_json a v4 a b
start_keyer a
IKE=v1 SWAN_VERSION=1
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
  until_true 60 has_state a 10.0.0.2 Up || fail "$proposal not up: $(tutti_on a tunnels)"
  swan b --list-sas | grep -q 'TRANSPORT, AH:HMAC_SHA2_256_128' || fail "$(swan b --list-sas)"
  tcp_crosses a b 10.0.0.2 || fail "no TCP with $proposal"
  swan b --rekey --child ah > "$OUT/rekey-$turn" 2>&1 || fail "rekey with $proposal failed"
  sleep 3
  has_state a 10.0.0.2 Up || fail "down after the rekey: $(tutti_on a tunnels)"
  tcp_crosses b a 10.0.0.1 || fail "no TCP after the rekey with $proposal"
done
swan b --terminate --ike peer > "$OUT/terminate-ike" 2>&1 || fail "no terminate --ike"
until_true 60 has_state a 10.0.0.2 Up || fail "not renewed: $(tutti_on a tunnels)"
until_true 20 tcp_crosses a b 10.0.0.2 || fail "no TCP after the ISAKMP SA was deleted"
