# Certificates on both sides, made by OpenSSL: ECDSA P-256, P-384, RSA-PSS and Ed25519, each begun by us
# and by strongSwan, over IPv4 and IPv6 in turn. Then one that has expired, which is named, and
# strongSwan refusing ours, which ends the IKE SA at once whoever began it.
. "$LAB/strongswan.sh"
hosts a b
charon b
. "$LAB/swan_pki.sh"
peers_json a v4 a b
start_keyer a
capture wire
# both WORDS AUTH KEY-OPTIONS...
both() {
  certificates 30 30 "${@:3}"
  swan_certificates "$2" none 'send_cert = always'
  round "$1"
  round "$1" theirs
}
EC='-algorithm EC -pkeyopt ec_paramgen_curve'
both 'ECDSA P-256' ecdsa-sha256 $EC:P-256
FAMILY=v6
both 'ECDSA P-384' ecdsa-sha384 $EC:P-384
both Ed25519 pubkey -algorithm ED25519
FAMILY=v4
both RSA-PSS rsa/pss-sha256 -algorithm RSA -pkeyopt rsa_keygen_bits:2048
certificates 30 0 $EC:P-256
sleep 1
swan_certificates pubkey none 'send_cert = always'
release
ours
until_true 60 sh -c "tutti --run /tmp/n/a/run tunnels | grep -q 'certificate expired'" ||
  fail "the expired certificate is not named: $(tutti_on a tunnels)"
certificates 0 30 $EC:P-256
sleep 1
swan_certificates pubkey none 'send_cert = always'
for who in ours theirs; do
  mark "refused by strongSwan, $who"
  [ $who = ours ] || hold
  ours
  if [ $who = theirs ]; then
    until_true 20 test -S /tmp/n/a/run/ike.sock || fail "ike did not start"
    swan b --initiate --child ah --timeout 20 > "$OUT/refused" 2>&1 && fail "strongSwan took ours"
  fi
  until_true 15 sh -c "tutti --run /tmp/n/a/run tunnels | grep -q 'refused our certificate'" ||
    fail "strongSwan's refusal is not named, $who: $(tutti_on a tunnels)"
done
release
end_capture wire
only_ipsec wire
