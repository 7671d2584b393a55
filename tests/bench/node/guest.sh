#!/bin/bash
# What a cluster of three whole nodes does in the lab kernel: how soon a cut and its healing show,
# and how many rows a second replicate inside AH, beside TLS alone. Prints `name: value` lines.
NODE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LAB=$(cd "$NODE/../lab" && pwd)
. "$LAB/lib.sh"
ROWS=${ROWS:-20000}
A=10.0.0.1 B=10.0.0.2 C=10.0.0.3
hosts a b c
for host in a b c; do start_node $host v4; done

all_active() {
  local host
  for host in a b c; do peers_say $host "Active as" 2 || return 1; done
}
# Both sides see the cut: who was cut off, and whom it was cut off from.
c_is_gone() {
  ! peers_say a "Active as peer-c" && ! peers_say b "Active as peer-c" && ! peers_say c "Active as"
}
# seconds COMMAND...: until it succeeds, with a tenth of a second.
seconds() {
  local begin
  begin=$(date +%s%N)
  until "$@"; do
    [ $((($(date +%s%N) - begin) / 1000000000)) -lt 300 ] || fail "never: $*"
    sleep 0.1
  done
  echo "$((($(date +%s%N) - begin) / 100000000))" | sed 's/\(.\)$/.\1/; s/^\./0./'
}

KEY=$(tutti_on a cluster generate-key) || fail "no key"
cluster_set a "$KEY" $A > /dev/null
for host in a b c; do cluster_set $host "$KEY" $A $B $C > /dev/null; done
until_true 180 all_active || fail "no cluster: $(tutti_on a peers)"

ip link set vc down
echo "cut_seen_s: $(seconds c_is_gone)"
ip link set vc up
echo "heal_seen_s: $(seconds all_active)"

# rows NAME COUNT: imports so many rows at a; rows a second until all three have them.
rows() {
  local begin
  python3 - "$1" "$2" << 'P'
import sqlite3, sys
name, count = sys.argv[1], int(sys.argv[2])
with sqlite3.connect(f"/tmp/n/{name}.db") as db:
    db.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY NOT NULL, a TEXT, b TEXT, c REAL)")
    db.executemany(f"INSERT INTO {name} VALUES (?, ?, ?, ?)",
                   ((n, f"row number {n}", f"{n * 7919 % 10007:x}" * 3, n / 7) for n in range(count)))
P
  begin=$(date +%s%N)
  tutti_on a tables import "/tmp/n/$1.db" > /dev/null || fail "no import of $1"
  until_true 300 same_digests a b c || fail "the rows of $1 did not arrive"
  echo $(($2 * 1000 / (($(date +%s%N) - begin) / 1000000)))
}
rows warm 2000 > /dev/null
inside=$(rows inside "$ROWS")
echo "serve_rss_mb: $(($(awk '/^VmHWM/ { print $2 }' "/proc/$(role_pid a serve)/status") / 1024))"

declare -A digest
for host in a b c; do
  digest[$host]=$(tutti_on $host status --json | sed -n 's/.*"certificate": "\([0-9a-f]*\)".*/\1/p')
done
for host in a b c; do
  kill_node $host
  ip netns exec $host nft flush ruleset
  rm -f /tmp/n/$host/run/*.sock
done
told() {
  local host=$1
  shift
  ip netns exec "$host" python3 "$NODE/told.py" "/tmp/n/$host/run" "$@" &
  until_true 20 test -S "/tmp/n/$host/run/ike.sock" || fail "no told.py on $host"
  role "$host" serve --no-host --name "peer-$host" --address "$(v4 "$host")"
}
told a $B "${digest[b]}" $C "${digest[c]}"
told b $A "${digest[a]}" $C "${digest[c]}"
told c $A "${digest[a]}" $B "${digest[b]}"
until_true 180 all_active || fail "no cluster in TLS alone: $(tutti_on a peers)"
rows warmer 2000 > /dev/null
alone=$(rows alone "$ROWS")
echo "ah_rows_per_s: $inside"
echo "tls_rows_per_s: $alone"
echo "ah_rows_ratio: $((inside * 100 / alone))" | sed 's/\(..\)$/.\1/; s/: \./: 0./'
