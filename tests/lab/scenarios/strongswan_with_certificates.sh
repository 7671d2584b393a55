# Certificates on both sides, made by OpenSSL: ECDSA P-256 and P-384, then RSA-PSS, where strongSwan
# initiates. Then one that has expired, which is named.
. "$LAB/strongswan.sh"
hosts a b
charon b
peers_json a v4 a b
start_keyer a
. "$LAB/swan_pki.sh"
certificate a 10.0.0.1 30 -algorithm EC -pkeyopt ec_paramgen_curve:P-256
certificate b 10.0.0.2 30 -algorithm EC -pkeyopt ec_paramgen_curve:P-384
swan_certificates pubkey none 'send_cert = always'
round ECDSA
certificate a 10.0.0.1 30 -algorithm RSA -pkeyopt rsa_keygen_bits:2048
certificate b 10.0.0.2 30 -algorithm RSA -pkeyopt rsa_keygen_bits:2048
swan_certificates rsa/pss-sha256 start 'send_cert = always'
round RSA-PSS
certificate b 10.0.0.2 0 -algorithm EC -pkeyopt ec_paramgen_curve:P-256
sleep 1
swan_certificates pubkey none 'send_cert = always'
ours
until_true 60 sh -c "tutti --run /tmp/n/a/run tunnels | grep -q 'certificate expired'" ||
  fail "the expired certificate is not named: $(tutti_on a tunnels)"
