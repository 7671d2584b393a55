#!/bin/bash
# Makes tests/vectors/charon-v2.txt and charon-v1.txt: strongSwan on both ends, which logs its secrets,
# the messages between them, and the keys that the kernels got. Run in the lab's guest:
#
#   tests/lab/run.sh --out DIR -- lab/vectors.sh
LAB=$(cd "$(dirname "$0")" && pwd)
. "$LAB/lib.sh"
. "$LAB/strongswan.sh"
hosts a b
CHARON_LOG="default = 1
    ike = 4
    chd = 4
    flush_line = yes"
for version in 2 1; do
  SWAN_VERSION=$version SWAN_PROPOSALS=aes256gcm16-prfsha384-x25519 SWAN_AH=sha256-esn
  # Main mode knows neither; its quick mode has a key exchange of its own.
  [ $version = 2 ] || SWAN_PROPOSALS=aes256-sha256-ecp256 SWAN_AH=sha384-ecp256-esn
  for host in a b; do
    charon $host
    mv "$OUT/$host-charon.log" "$OUT/v$version-$host.log"
  done
  capture v$version
  swan_peer a v4 "$KEY" b
  swan_peer b v4 "$KEY" a
  swan a --initiate --child ah --timeout 30 > "$OUT/initiate" 2>&1 || fail "$(tail -5 "$OUT/initiate")"
  # Not the SAs that wait for keys.
  ip -n a xfrm state > "$OUT/v$version.states"
  end_capture v$version
  for host in a b; do
    kill -KILL "$(cat /tmp/n/$host/charon.pid)"
    rm -f /tmp/n/$host/vici
    ip -n $host xfrm state flush
    ip -n $host xfrm policy flush
  done
  "$LAB/vectors.py" "$KEY" "$OUT/v$version.pcap" "$OUT/v$version-a.log" "$OUT/v$version.states" \
    > "$OUT/charon-v$version.txt" || fail "no vectors"
done
