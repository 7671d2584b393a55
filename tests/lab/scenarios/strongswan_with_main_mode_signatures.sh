# IKEv1 with strongSwan and certificates: ECDSA on P-256 and P-384 and RSA, each side as initiator.
# strongSwan sends its certificate only because we ask for it; P-384 goes over IPv6. Then one that
# has expired, which is named, and strongSwan refusing ours.
. "$LAB/strongswan.sh"
hosts a b
charon b
. "$LAB/swan_pki.sh"
peers_json a v4 a b
start_keyer a
IKE=v1 SWAN_VERSION=1
turn=0
capture wire
established() { [ "$(grep -c 'initiating Main Mode' "$OUT/b-charon.log")" = "$1" ] &&
  swan b --list-sas | grep -q ESTABLISHED; }
# both WORDS OPENSSL-KEY-OPTIONS...: we begin, then strongSwan does, replacing the ISAKMP SA.
both() {
  local words=$1
  shift
  turn=$((turn + 1))
  certificates 30 30 "$@"
  swan_certificates pubkey none
  round "$words"
  swan b --list-sas > "$OUT/sas-$turn"
  grep -q 'TRANSPORT, AH:HMAC_SHA2_256_128' "$OUT/sas-$turn" || fail "$(cat "$OUT/sas-$turn")"
  swan b --rekey --ike peer > "$OUT/rekey-$turn" 2>&1 || fail "no new main mode with $words"
  until_true 30 established $turn || fail "strongSwan's main mode did not end with $words"
  until_true 20 tcp_crosses a b "$($FAMILY b)" || fail "no TCP after strongSwan's main mode, $words"
}
PROPOSALS='"aes256-sha256-ecp256"' SWAN_PROPOSALS=aes256-sha256-ecp256
SWAN_AH=sha256-ecp256-esn-noesn
both 'ECDSA P-256' -algorithm EC -pkeyopt ec_paramgen_curve:P-256
# The hash of the SA is not that of the signature.
FAMILY=v6
both 'ECDSA P-384' -algorithm EC -pkeyopt ec_paramgen_curve:P-384
FAMILY=v4
PROPOSALS='"aes256-sha512-modp3072"' SWAN_PROPOSALS=aes256-sha512-modp3072
SWAN_AH=sha256-modp3072-esn-noesn
both RSA -algorithm RSA -pkeyopt rsa_keygen_bits:2048
mark expired
certificates 30 0 -algorithm RSA -pkeyopt rsa_keygen_bits:2048
sleep 1
swan_certificates pubkey none
ours
until_true 60 sh -c "tutti --run /tmp/n/a/run tunnels | grep -q 'certificate expired'" ||
  fail "the expired certificate is not named: $(tutti_on a tunnels)"
mark 'refused by strongSwan'
certificates 0 30 -algorithm RSA -pkeyopt rsa_keygen_bits:2048
sleep 1
swan_certificates pubkey none
ours
until_true 60 sh -c "tutti --run /tmp/n/a/run tunnels | grep -q 'refused our certificate'" ||
  fail "strongSwan's refusal is not named: $(tutti_on a tunnels)"
end_capture wire
only_ipsec wire
