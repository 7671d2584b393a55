# Sourced after strongswan.sh: certificates of one authority for our node on host a and strongSwan on
# host b, with their addresses of the family $FAMILY.

FAMILY=v4

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
  local_addrs = $($FAMILY b)
  remote_addrs = $($FAMILY a)
  proposals = $SWAN_PROPOSALS
  mobike = no
  ${3:-}
  local { auth = $1
    certs = b.pem
    id = $($FAMILY b) }
  remote { auth = pubkey
    id = $($FAMILY a) }
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
# certificates DAYS-OF-A DAYS-OF-B KEY-OPTIONS...: one for each.
certificates() {
  certificate a "$($FAMILY a)" "$1" "${@:3}"
  certificate b "$($FAMILY b)" "$2" "${@:3}"
}
# ours: our node on a, begun anew with a's certificate.
ours() {
  peers_json a $FAMILY a b
  desired a $FAMILY "$KEY" a b
  cat >> /tmp/n/a/desired.toml << X
[certificates]
chain = "$dir/a.pem"
key = "$dir/a.key"
authorities = "$dir/ca.pem"
X
  [ ! -f /tmp/n/a/ike.pid ] || kill_role a ike
  swan b --terminate --ike peer --force > /dev/null 2>&1
  rm -f /tmp/n/a/run/ike.sock
  role a ike --desired /tmp/n/a/desired.toml
}
# round WORDS [theirs]: ours, until AH carries TCP; we begin, or strongSwan.
round() {
  local who=${2:-ours}
  release
  [ "$who" = ours ] || hold
  ours
  if [ "$who" = theirs ]; then
    until_true 20 test -S /tmp/n/a/run/ike.sock || fail "ike did not start"
    swan b --initiate --child ah --timeout 60 > "$OUT/initiate" 2>&1 ||
      { tail -5 "$OUT/initiate"; fail "$1: strongSwan could not begin"; }
  fi
  until_state 60 a "$($FAMILY b)" Up || fail "$1 not up: $(tutti_on a tunnels)"
  [ "$(begun_by)" = "$who" ] || fail "$1: not $who: $(swan b --list-sas)"
  tcp_crosses a b "$($FAMILY b)" || fail "no TCP with $1"
  mark "$1, $who, $FAMILY"
}
