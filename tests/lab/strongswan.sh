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

# charon_anew FAMILY [START_ACTION]: on b, with us as its peer. alone: it has one IKE or ISAKMP SA and
# one AH pair.
charon_anew() {
  rm -f /tmp/n/b/vici
  charon b
  swan_peer b "$1" "$KEY" a ${2:-}
}
alone() { [ "$(swan b --list-sas | grep -cE ' ESTABLISHED| INSTALLED')" = 2 ]; }

# What `fail` shows beside the kernels' SAs.
explain() { swan b --list-sas 2>&1 | grep -E 'ESTABLISHED|INSTALLED|REKEYED|  (in|out) ' | sed 's/^/    charon: /'; }

# hold: what begins an exchange (it has no responder's SPI yet) does not reach strongSwan on b, so that
# strongSwan alone begins. release: either may.
hold() {
  on b nft -f - << X || fail "nft refused the hold"
table inet hold {
  chain input { type filter hook input priority -10; udp dport 500 @th,128,64 0 drop; }
}
X
}
release() { on b nft delete table inet hold 2> /dev/null; }
# a_is NUMBER: host a's addresses end in that from now on. In main mode the lower address, once it has
# begun, does not hear of what the other begins: who shall answer has the higher one.
A=1
v4() { [ "$1" = a ] && echo "10.0.0.$A" || echo "10.0.0.$(number "$1")"; }
v6() { [ "$1" = a ] && echo "fd00::$A" || echo "fd00::$(number "$1")"; }
a_is() {
  [ "$A" != "$1" ] || return 0
  ip -n a addr del "10.0.0.$A/24" dev eth0
  ip -n a addr del "fd00::$A/64" dev eth0
  ip -n a addr add "10.0.0.$1/24" dev eth0
  ip -n a addr add "fd00::$1/64" dev eth0 nodad
  A=$1
}
# begun_by: which side began the one IKE or ISAKMP SA that strongSwan has, `ours` or `theirs`.
begun_by() {
  swan b --list-sas --raw | awk '
    / ah(-[0-9]*)? {/ { exit } { text = text $0 }
    END { print text ~ /initiator=yes/ ? "theirs" : "ours" }'
}
# begin_anew ours|theirs V4|V6: our `ike` on a and strongSwan on b begin again from nothing; that
# side begins, and AH carries TCP. SWAN_AH's algorithm is what strongSwan shows.
begin_anew() {
  local who=$1 family=$2 words="$1 begin, $2, $SWAN_PROPOSALS" ah
  [ ! -f /tmp/n/a/ike.pid ] || kill_role a ike
  swan b --terminate --ike peer --force > /dev/null 2>&1
  release
  if [ "$who" = ours ]; then a_is 1; else a_is 3; hold; fi
  peers_json a "$family" a b
  [ -f /tmp/n/a/keyer.pid ] || start_keyer a
  rm -f /tmp/n/a/run/ike.sock
  swan_peer b "$family" "$KEY" a
  desired a "$family" "$KEY" a b
  role a ike --desired /tmp/n/a/desired.toml
  if [ "$who" = theirs ]; then
    until_true 20 test -S /tmp/n/a/run/ike.sock || fail "ike did not start"
    swan b --initiate --child ah --timeout 60 > "$OUT/initiate" 2>&1 ||
      { tail -5 "$OUT/initiate"; fail "$words: strongSwan could not"; }
  fi
  until_state 60 a "$($family b)" Up || fail "$words: not up: $(tutti_on a tunnels)"
  [ "$(begun_by)" = "$who" ] || fail "$words: it was not they: $(swan b --list-sas)"
  ah=HMAC_SHA2_256_128
  case $SWAN_AH in sha384*) ah=HMAC_SHA2_384_192 ;; sha512*) ah=HMAC_SHA2_512_256 ;; esac
  swan b --list-sas | grep -q "TRANSPORT, AH:$ah/.*ESN" || fail "$words: $(swan b --list-sas)"
  tcp_crosses a b "$($family b)" || fail "$words: no TCP from us"
  mark "$words"
}

# ppk_required: strongSwan demands this post-quantum key from now on.
PPK_ID=lab
PPK=c3Vn-3jkq-7wzd-p9fm-x2rt-8bhy-n4va-e6us
ppk_required() {
  SWAN_CONNECTION="ppk_id = $PPK_ID
    ppk_required = yes"
  SWAN_SECRETS="ppk-lab { id-lab = $PPK_ID
    secret = \"$PPK\" }"
}

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
secrets { ike-peer { secret = "$3" }
${SWAN_SECRETS:-} }
X
  swan "$1" --load-all --noprompt --file "/tmp/n/$1/swanctl/swanctl.conf" > "$OUT/$1-load" 2>&1 ||
    { cat "$OUT/$1-load"; fail "swanctl on $1 took no configuration"; }
}
