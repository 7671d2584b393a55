# Sourced after strongswan.sh: certificates of one authority for our node on host a (10.0.0.1) and
# strongSwan on host b (10.0.0.2).

. "$LAB/pki.sh"
dir=$PKI
mkdir -p /tmp/n/b/swanctl/{x509,x509ca,private}
authority

# swan_certificates AUTH START_ACTION [LINE]: strongSwan's connection `peer`, with b's certificate.
swan_certificates() {
  cp $dir/ca.pem /tmp/n/b/swanctl/x509ca/
  cp $dir/b.pem /tmp/n/b/swanctl/x509/
  cp $dir/b.key /tmp/n/b/swanctl/private/
  cat > /tmp/n/b/swanctl/swanctl.conf << X
connections { peer {
  version = ${SWAN_VERSION:-2}
  local_addrs = 10.0.0.2
  remote_addrs = 10.0.0.1
  proposals = $SWAN_PROPOSALS
  mobike = no
  ${3:-}
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
# ours: our node on a, begun anew with a's certificate.
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
# round WORDS: ours, until AH carries TCP.
round() {
  ours
  until_state 60 a 10.0.0.2 Up || fail "$1 not up: $(tutti_on a tunnels)"
  tcp_crosses a b 10.0.0.2 || fail "no TCP with $1"
}
