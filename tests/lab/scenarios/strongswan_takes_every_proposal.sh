# Every proposal we know but ML-KEM, with strongSwan in turn as initiator and as responder, with
# AH by SHA2-256 and SHA2-512; a rekey of the IKE SA by either side with each.
. "$LAB/strongswan.sh"
hosts a b
charon b
peers_json a v4 a b
start_keyer a
turn=0
for proposal in aes256gcm16-prfsha256-x25519 aes256gcm16-prfsha384-ecp384 aes256-sha256-ecp256 \
  aes256-sha384-modp2048 aes256-sha512-modp3072 aes256gcm16-prfsha512-modp4096; do
  turn=$((turn + 1))
  mark "$proposal"
  PROPOSALS="\"$proposal\""
  SWAN_PROPOSALS=$proposal
  if [ $((turn % 2)) = 0 ]; then
    AH_PROPOSALS='"sha512"' SWAN_AH=sha512-esn-noesn ah=AH:HMAC_SHA2_512_256/ESN start=start
  else
    AH_PROPOSALS='"sha256"' SWAN_AH=sha256-esn-noesn ah=AH:HMAC_SHA2_256_128/ESN start=none
  fi
  desired a v4 "$KEY" a b
  [ $turn = 1 ] || kill_role a ike
  swan b --terminate --ike peer --force > /dev/null 2>&1
  swan_peer b v4 "$KEY" a $start
  role a ike --desired /tmp/n/a/desired.toml
  until_state 60 a 10.0.0.2 Up || fail "$proposal not up: $(tutti_on a tunnels)"
  swan b --list-sas | grep -q "TRANSPORT, $ah" || fail "not $ah: $(swan b --list-sas)"
  tcp_crosses a b 10.0.0.2 || fail "no TCP with $proposal"
  swan b --rekey --ike peer > "$OUT/rekey-$turn" 2>&1 || fail "rekey with $proposal failed"
  sleep 1
  has_state a 10.0.0.2 Up || fail "down after the rekey: $(tutti_on a tunnels)"
  tcp_crosses b a 10.0.0.1 || fail "no TCP after the rekey with $proposal"
done
