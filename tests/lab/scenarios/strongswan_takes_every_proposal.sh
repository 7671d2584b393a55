# Every proposal we know but ML-KEM, each begun by us and by strongSwan, once over IPv4 and once over
# IPv6, with each algorithm of AH; a rekey of the IKE SA by strongSwan with each, and by us in
# `our_rekeys_beside_strongswan_lose_nothing`.
. "$LAB/strongswan.sh"
hosts a b
charon b
capture wire
ike_spis() { swan b --list-sas --raw | grep -o 'initiator-spi=[0-9a-f]*' | sort -u; }
other() { [ "$(ike_spis)" != "$before" ] && [ "$(ike_spis | wc -l)" = 1 ]; }
turn=0
for proposal in aes256gcm16-prfsha256-x25519 aes256gcm16-prfsha384-ecp384 aes256-sha256-ecp256 \
  aes256-sha384-modp2048 aes256-sha512-modp3072 aes256gcm16-prfsha512-modp4096; do
  PROPOSALS="\"$proposal\"" SWAN_PROPOSALS=$proposal
  case $((turn % 3)) in 0) hash=sha256 ;; 1) hash=sha512 ;; 2) hash=sha384 ;; esac
  AH_PROPOSALS="\"$hash\"" SWAN_AH=$hash-esn-noesn
  if [ $((turn % 2)) = 0 ]; then ours=v4 theirs=v6; else ours=v6 theirs=v4; fi
  turn=$((turn + 1))
  begin_anew ours $ours
  begin_anew theirs $theirs
  before=$(ike_spis)
  swan b --rekey --ike peer > "$OUT/rekey-$turn" 2>&1 || fail "rekey with $proposal failed"
  until_true 20 other || fail "$proposal: not rekeyed: $(swan b --list-sas)"
  has_state a "$($theirs b)" Up || fail "down after the rekey: $(tutti_on a tunnels)"
  tcp_crosses b a "$($theirs a)" || fail "no TCP after the rekey with $proposal"
done
end_capture wire
only_ipsec wire
