# Certificates on both sides, made by OpenSSL: ECDSA P-256 and P-384, then RSA-PSS, where strongSwan
# initiates. Then one that has expired, which is named.
. "$LAB/strongswan.sh"
. "$LAB/pki.sh"
hosts a b
charon b
peers_json a v4 a b
start_keyer a
dir=$PKI
mkdir -p /tmp/n/b/swanctl/{x509,x509ca,private}
authority
swan_certificates() {
  cp $dir/ca.pem /tmp/n/b/swanctl/x509ca/
  cp $dir/b.pem /tmp/n/b/swanctl/x509/
  cp $dir/b.key /tmp/n/b/swanctl/private/
  cat > /tmp/n/b/swanctl/swanctl.conf << X
connections { peer {
  version = 2
  local_addrs = 10.0.0.2
  remote_addrs = 10.0.0.1
  proposals = $SWAN_PROPOSALS
  mobike = no
  send_cert = always
  local { auth = $1
    certs = b.pem
    id = 10.0.0.2 }
  remote { auth = pubkey
    id = 10.0.0.1 }
  children { ah {
    mode = transport
    ah_proposals = $SWAN_AH
    local_ts = dynamic
    remote_ts = dynamic
    start_action = $2
  } }
} }
X
  swan b --load-all --noprompt --file /tmp/n/b/swanctl/swanctl.conf > "$OUT/b-load" 2>&1 ||
    { cat "$OUT/b-load"; fail "swanctl took no configuration"; }
}
ours() {
  desired a v4 "$KEY" a b
  cat >> /tmp/n/a/desired.toml << X
[certificates]
chain = "$dir/a.pem"
key = "$dir/a.key"
authorities = "$dir/ca.pem"
X
  [ ! -f /tmp/n/a/ike.pid ] || kill_role a ike
  swan b --terminate --ike peer --force > /dev/null 2>&1
  role a ike --desired /tmp/n/a/desired.toml
}
round() {
  ours
  until_true 60 has_state a 10.0.0.2 Up || fail "$1 not up: $(tutti_on a tunnels)"
  tcp_crosses a b 10.0.0.2 || fail "no TCP with $1"
}
certificate a 10.0.0.1 30 -algorithm EC -pkeyopt ec_paramgen_curve:P-256
certificate b 10.0.0.2 30 -algorithm EC -pkeyopt ec_paramgen_curve:P-384
swan_certificates pubkey none
round ECDSA
certificate a 10.0.0.1 30 -algorithm RSA -pkeyopt rsa_keygen_bits:2048
certificate b 10.0.0.2 30 -algorithm RSA -pkeyopt rsa_keygen_bits:2048
swan_certificates rsa/pss-sha256 start
round RSA-PSS
certificate b 10.0.0.2 0 -algorithm EC -pkeyopt ec_paramgen_curve:P-256
sleep 1
swan_certificates pubkey none
ours
until_true 60 sh -c "ip netns exec a tutti --run /tmp/n/a/run tunnels | grep -q 'certificate expired'" ||
  fail "the expired certificate is not named: $(tutti_on a tunnels)"
