# IKEv1 with strongSwan and certificates: ECDSA on P-256 and P-384 and RSA, each side as initiator.
# strongSwan sends its certificate only because ours is asked for. Then one that has expired, which
# is named, and strongSwan refusing ours.
. "$LAB/strongswan.sh"
hosts a b
charon b
. "$LAB/pki.sh"
peers_json a v4 a b
start_keyer a
IKE=v1 SWAN_VERSION=1
turn=0
# both WORDS OPENSSL-KEY-OPTIONS...: strongSwan answers, then begins.
both() {
  local words=$1 start
  shift
  certificate a 10.0.0.1 30 "$@"
  certificate b 10.0.0.2 30 "$@"
  for start in none start; do
    mark "$words, strongSwan's action: $start"
    swan_certificates pubkey $start
    round "$words ($start)"
    swan b --list-sas > "$OUT/sas-$turn"
    grep -q 'TRANSPORT, AH:HMAC_SHA2_256_128' "$OUT/sas-$turn" || fail "$(cat "$OUT/sas-$turn")"
    turn=$((turn + 1))
  done
}
PROPOSALS='"aes256-sha256-ecp256"' SWAN_PROPOSALS=aes256-sha256-ecp256
SWAN_AH=sha256-ecp256-esn-noesn
both 'ECDSA P-256' -algorithm EC -pkeyopt ec_paramgen_curve:P-256
# The hash of the SA is not that of the signature.
both 'ECDSA P-384' -algorithm EC -pkeyopt ec_paramgen_curve:P-384
PROPOSALS='"aes256-sha512-modp3072"' SWAN_PROPOSALS=aes256-sha512-modp3072
SWAN_AH=sha256-modp3072-esn-noesn
both RSA -algorithm RSA -pkeyopt rsa_keygen_bits:2048
swan b --rekey --ike peer > "$OUT/rekey" 2>&1 || fail "strongSwan cannot replace the ISAKMP SA"
sleep 3
tcp_crosses a b 10.0.0.2 || fail "no TCP after the replacement"
mark expired
certificate b 10.0.0.2 0 -algorithm RSA -pkeyopt rsa_keygen_bits:2048
sleep 1
swan_certificates pubkey none
ours
until_true 60 sh -c "ip netns exec a tutti --run /tmp/n/a/run tunnels | grep -q 'certificate expired'" ||
  fail "the expired certificate is not named: $(tutti_on a tunnels)"
mark 'refused by strongSwan'
certificate b 10.0.0.2 30 -algorithm RSA -pkeyopt rsa_keygen_bits:2048
certificate a 10.0.0.1 0 -algorithm RSA -pkeyopt rsa_keygen_bits:2048
sleep 1
swan_certificates pubkey none
ours
until_true 60 sh -c "ip netns exec a tutti --run /tmp/n/a/run tunnels | grep -q 'refused our certificate'" ||
  fail "strongSwan's refusal is not named: $(tutti_on a tunnels)"
