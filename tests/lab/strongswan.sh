# Sourced after lib.sh: strongSwan (charon, swanctl) as a host's IKE daemon, set up as a peer of
# ours would be.

PLUGINS="random nonce aes sha1 sha2 hmac kdf gcm x509 revocation constraints pubkey pkcs1 pkcs8 pem
  openssl gmp curve25519 drbg kernel-netlink socket-default vici counters"

# What we offer to strongSwan, which has no ML-KEM before 6.1, and what it shall want.
SWAN_PROPOSALS=aes256gcm16-prfsha256-x25519
SWAN_AH=sha256-esn-noesn
PROPOSALS="\"$SWAN_PROPOSALS\""

# charon HOST: starts it and waits for its control socket; its log is $OUT/HOST-charon.log.
charon() {
  local host=$1 dir=/tmp/n/$1
  mkdir -p "$dir/swanctl"
  cat > "$dir/strongswan.conf" << X
charon {
  load = $(echo $PLUGINS)
  filelog { log { path = $OUT/$host-charon.log
    ${CHARON_LOG:-default = 1
    ike = 2
    flush_line = yes} } }
  ${CHARON_EXTRA:-}
  plugins { vici { socket = unix://$dir/vici } }
}
swanctl { load = random nonce aes sha1 sha2 hmac x509 pubkey pkcs1 pkcs8 pem openssl }
X
  ip netns exec "$host" sh -c "mount -t tmpfs t /run
    STRONGSWAN_CONF=$dir/strongswan.conf exec /usr/lib/ipsec/charon" \
    > "$OUT/$host-charon.out" 2>&1 &
  echo $! > "$dir/charon.pid"
  until_true 30 test -S "$dir/vici" || fail "charon on $host did not start"
}

swan() {
  local host=$1
  shift
  STRONGSWAN_CONF=/tmp/n/$host/strongswan.conf SWANCTL_DIR=/tmp/n/$host/swanctl \
    swanctl "$@" --uri "unix:///tmp/n/$host/vici"
}

# What `fail` shows beside the kernels' SAs.
explain() { swan b --list-sas 2>&1 | grep -E 'ESTABLISHED|INSTALLED|REKEYED|  (in|out) ' | sed 's/^/    charon: /'; }

# swan_peer HOST V4|V6 KEY PEER [START_ACTION]: one connection, named `peer`, child `ah`.
swan_peer() {
  local local_address remote_address
  local_address=$($2 "$1")
  remote_address=$($2 "$4")
  cat > "/tmp/n/$1/swanctl/swanctl.conf" << X
connections { peer {
  version = ${SWAN_VERSION:-2}
  local_addrs = $local_address
  remote_addrs = $remote_address
  proposals = $SWAN_PROPOSALS
  mobike = no
  ${SWAN_CONNECTION:-}
  local { auth = psk
    id = $local_address }
  remote { auth = psk
    id = $remote_address }
  children { ah {
    mode = transport
    ah_proposals = $SWAN_AH
    local_ts = dynamic
    remote_ts = dynamic
    ${SWAN_CHILD:-}
    start_action = ${5:-none}
  } }
} }
secrets { ike-peer { secret = "$3" } }
X
  swan "$1" --load-all --noprompt --file "/tmp/n/$1/swanctl/swanctl.conf" > "$OUT/$1-load" 2>&1 ||
    { cat "$OUT/$1-load"; fail "swanctl on $1 took no configuration"; }
}
