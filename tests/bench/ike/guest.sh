#!/bin/bash
# What `tutti ike` does beside charon in the same role, in the lab kernel: our pair is a and b,
# charon's c and d, on one bridge, in turns. Prints `name: value` lines.
#
#   guest.sh          a few minutes; SHORT=1 a minute, of which only what no clock decides counts;
#                     COUNTED=1 only what a handshake costs the responder, by instructions
BENCH=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ -z "${LAB:-}" ]; then
  LAB=$(cd "$BENCH/../lab" && pwd)
  . "$LAB/lib.sh"
fi
. "$LAB/strongswan.sh"
if [ -n "${SHORT:-}" ]; then rounds=1 each=3 rekeys=10 seconds=2; else
  rounds=5 each=10 rekeys=100 seconds=8; fi
export KEY COUNTED
NO_KEY_LOG=1
CHARON_LOG="default = 0"
SWAN_CHILD="replay_window = 1024"
hosts a b c d
ip link set br0 promisc on

stop() {
  local host role
  for host in "$@"; do
    for role in ike keyer; do kill_role "$host" $role KILL; done
    ip -n "$host" xfrm state flush
    ip -n "$host" xfrm policy flush
    rm -f "/tmp/n/$host"/run/*.sock
  done
}

# Three peers from nothing: from the first process' start until each holds AH to both others.
cold() {
  local host begin
  PROPOSALS=
  for host in a b c; do
    peers_json $host v4 a b c
    desired $host v4 "$KEY" a b c
  done
  begin=$(date +%s%N)
  for host in a b c; do role $host keyer; done
  for host in a b c; do
    until_true 20 test -S /tmp/n/$host/run/keyer.sock
    role $host ike --desired /tmp/n/$host/desired.toml
  done
  "$BENCH/cold.py" a 10.0.0.1 b 10.0.0.2 c 10.0.0.3 || fail "three peers did not come up"
  echo "cold_start_all_up_ms: $((($(date +%s%N) - begin) / 1000000))"
  stop a b c
}
[ -n "${COUNTED:-}" ] || cold

for host in a b; do
  peers_json $host v4 a b
  start_keyer $host
  role $host ike
done
charon c
charon d
"$BENCH/watch.py" br0 ours=a:10.0.0.1,b:10.0.0.2 charon=c:10.0.0.3,d:10.0.0.4 > /tmp/n/watched &
watch=$!
until_true 20 grep -q watching /tmp/n/watched || fail "watch.py did not start"

# handshakes NAME VERSION PROPOSAL AH
handshakes() {
  SWAN_VERSION=$2 SWAN_PROPOSALS=$3 SWAN_AH=$4
  swan_peer c v4 "$KEY" d
  swan_peer d v4 "$KEY" c
  "$BENCH/handshakes.py" "$1" "$2" "$3" $rounds $each /tmp/n/watched || fail "no handshakes: $1"
}
handshakes v2_psk 2 aes256gcm16-prfsha256-x25519 sha256-esn
[ -z "${COUNTED:-}" ] || exit 0
handshakes v2_psk_p256 2 aes256gcm16-prfsha256-ecp256 sha256-esn
handshakes v1_psk 1 aes256-sha256-ecp256 sha256-ecp256-esn
if [ -z "${SHORT:-}" ]; then
  handshakes v2_psk_modp4096 2 aes256gcm16-prfsha256-modp4096 sha256-esn
  handshakes v1_psk_modp4096 1 aes256-sha256-modp4096 sha256-modp4096-esn
fi
kill $watch
wait $watch 2> /dev/null

# note_resident HOST ROLE: the most memory it has held so far, MiB, kept for the end.
note_resident() {
  awk '/^VmHWM/ { printf "%.1f\n", $2 / 1024; found = 1 } END { exit !found }' \
    "/proc/$(role_pid "$1" "$2")/status" >> "$OUT/resident-$2" || fail "no memory of $2 on $1"
}
note_ours() {
  local host
  for host in a b; do
    note_resident $host ike
    note_resident $host keyer
  done
}
note_ours

# TCP over our AH pair and over charon's, of the same algorithm with 64-bit sequence numbers.
SWAN_VERSION=2 SWAN_PROPOSALS=aes256gcm16-prfsha256-x25519 SWAN_AH=sha256-esn
swan_peer c v4 "$KEY" d
swan_peer d v4 "$KEY" c
swan c --initiate --child ah > "$OUT/initiate" 2>&1 || fail "charon: $(cat "$OUT/initiate")"
stop a b
PROPOSALS="\"$SWAN_PROPOSALS\""
for host in a b; do start_tunnels $host v4 "$KEY" a b; done
until_true 40 has_state a 10.0.0.2 Up || fail "no tunnel: $(tutti_on a tunnels)"
until_true 40 has_state b 10.0.0.1 Up || fail "no tunnel: $(tutti_on b tunnels)"
on b iperf3 -s -D --logfile "$OUT/iperf-b" -B 10.0.0.2
on d iperf3 -s -D --logfile "$OUT/iperf-d" -B 10.0.0.4
for host in b d; do
  until_true 20 sh -c "ip netns exec $host ss -Htln | grep -q :5201" || fail "no iperf3 on $host"
done
for turn in $(seq $rounds); do
  on a iperf3 -c 10.0.0.2 -t $seconds -J > "$OUT/ours-$turn.json" || fail "no TCP over our AH"
  on c iperf3 -c 10.0.0.4 -t $seconds -J > "$OUT/charon-$turn.json" || fail "no TCP over charon's"
done
python3 - "$OUT" $rounds << 'PYTHON' || fail "no throughput"
import json, statistics, sys
out, rounds = sys.argv[1], int(sys.argv[2])
def rate(side, turn):
    return json.load(open(f"{out}/{side}-{turn}.json"))["end"]["sum_received"]["bits_per_second"]
ours, charon = ([rate(side, turn + 1) for turn in range(rounds)] for side in ("ours", "charon"))
print(f"ah_mbit_s: {statistics.median(ours) / 1e6:.0f}")
print(f"ah_mbit_s_charon: {statistics.median(charon) / 1e6:.0f}")
print(f"ah_throughput_ratio: {statistics.median(o / c for o, c in zip(ours, charon)):.2f}")
PYTHON

# The kernel says again and again that the SA has reached its soft limit, while datagrams flow.
outbound() { ip -n a xfrm state | grep -A1 '^src 10.0.0.1 dst' | grep -o '0x[0-9a-f]*'; }
STREAM_MS=2 stream_start a b 10.0.0.2
for round in $(seq $rekeys); do
  before=$(outbound)
  on a "$LAB/expire.py" 10.0.0.2 "$before" || fail "no expiry in round $round"
  until_true 40 sh -c "! ip -n a xfrm state | grep -q '$before'" ||
    fail "round $round: not rekeyed: $(tutti_on a tunnels)"
done
kill -TERM "$(cat /tmp/n/stream.sender)"
wait "$(cat /tmp/n/stream.sender)" || fail "the sender failed: $(cat "$OUT/stream-sent")"
wait "$(cat /tmp/n/stream.receiver)"
note_ours
for host in c d; do note_resident $host charon; done
for role in ike keyer charon; do echo "rss_mb_$role: $(sort -n "$OUT/resident-$role" | tail -1)"; done
echo "rss_mb: $(sort -n "$OUT"/resident-{ike,keyer} | tail -1)"
sent=$(tail -1 "$OUT/stream-sent") received=$(grep -x '[0-9]*' "$OUT/stream-received" | tail -1)
echo "rekeys: $rekeys"
echo "rekey_packets: $sent"
lost=$((sent - received))
echo "rekey_lost_packets: $lost"
if [ -n "${SHORT:-}" ]; then
  [ "$lost" = 0 ] || fail "packets were lost: $(tail -2 "$OUT/stream-received")"
  grep -q . < <(find "$OUT" -name 'stream-sent' -size +0) || fail "nothing was sent"
fi
