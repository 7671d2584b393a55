#!/bin/bash
# Makes tests/vectors/charon-v2.txt, charon-v1.txt and charon-v2-ppk.txt: strongSwan on both ends, which
# logs its secrets, the messages between them, and the keys that the kernels got; the last with a
# post-quantum key. Run in the lab's guest:
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
for name in v2 v1 v2-ppk; do
  version=${name:1:1}
  SWAN_VERSION=$version SWAN_PROPOSALS=aes256gcm16-prfsha384-x25519 SWAN_AH=sha256-esn
  # Main mode knows neither; its quick mode has a key exchange of its own.
  [ $version = 2 ] || SWAN_PROPOSALS=aes256-sha256-ecp256 SWAN_AH=sha384-ecp256-esn
  # Required of both.
  case $name in *-ppk) ppk_required ;; esac
  for host in a b; do
    charon $host
    mv "$OUT/$host-charon.log" "$OUT/$name-$host.log"
  done
  capture $name
  swan_peer a v4 "$KEY" b
  swan_peer b v4 "$KEY" a
  swan a --initiate --child ah --timeout 30 > "$OUT/initiate" 2>&1 || fail "$(tail -5 "$OUT/initiate")"
  # Not the SAs that wait for keys.
  ip -n a xfrm state > "$OUT/$name.states"
  end_capture $name
  for host in a b; do
    kill -KILL "$(cat /tmp/n/$host/charon.pid)"
    rm -f /tmp/n/$host/vici
    ip -n $host xfrm state flush
    ip -n $host xfrm policy flush
  done
  "$LAB/vectors.py" "$KEY" "$OUT/$name.pcap" "$OUT/$name-a.log" "$OUT/$name.states" \
    > "$OUT/charon-$name.txt" || fail "no vectors"
done
