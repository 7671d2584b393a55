#!/usr/bin/env bash
# galera.sh DIR ROWS: three MariaDB Galera nodes on loopback in a directory of their own take rows
# at the first; prints rows a second until all three have them, the median of three rounds.
#   galera_rows_per_s            DIR/rows.sql, one INSERT of 1,000 rows for each transaction
#   galera_statement_rows_per_s  DIR/statements.sql, one INSERT for each row, 1,000 a transaction
#   galera_relaxed_rows_per_s    as the first, but with one sync a second
# Installs Debian's mariadb-server, galera-4 and rsync if they are missing. Stops what it started.
set -euo pipefail
given=$(readlink -f "$1")
rows=$2
PROVIDER=/usr/lib/galera/libgalera_smm.so

say() { printf 'galera.sh: %s\n' "$*" >&2; }

# The packages start a server of their own unless told not to; this one leaves none behind.
install_packages() {
    [ -e "$PROVIDER" ] && command -v mariadbd rsync >/dev/null && return
    [ "$(id -u)" = 0 ] || { say "needs root to install mariadb-server galera-4 rsync"; exit 1; }
    local policy=/usr/sbin/policy-rc.d made= log
    log=$(mktemp)
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made=yes
    fi
    local failed=
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y \
        --no-install-recommends mariadb-server galera-4 rsync; } >"$log" 2>&1 || failed=yes
    [ -z "$made" ] || rm -f "$policy"
    if [ -n "$failed" ]; then
        tail -n 20 "$log" >&2
        say "the packages cannot be installed"
    fi
    rm -f "$log"
    [ -z "$failed" ] || exit 1
}

install_packages
PATH="$PATH:/usr/sbin"
dir=$(mktemp -d "${TUTTI_BENCH_DIR:-/tmp}/tutti-galera-XXXXXX")
pids=()

stop_all() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$dir"
}
trap stop_all EXIT

# As root the servers run as the package's own user; otherwise as the caller.
user=$(id -un)
if [ "$user" = root ]; then
    user=mysql
    chown mysql "$dir"
fi

client() {
    local node=$1
    shift
    mariadb --no-defaults --user=root --socket="$dir/$node/socket" --batch --skip-column-names "$@"
}

# start NODE ADDRESS: the first founds the cluster (gcomm://), the others take its state by rsync.
start() {
    local node=$1 cluster=$2 base=$((14500 + $1 * 10))
    mariadbd --no-defaults --user="$user" --datadir="$dir/$node" --socket="$dir/$node/socket" \
        --pid-file="$dir/$node/pid" --bind-address=127.0.0.1 --port="$base" \
        --binlog-format=ROW --default-storage-engine=InnoDB --innodb-autoinc-lock-mode=2 \
        --wsrep-on=ON --wsrep-provider="$PROVIDER" --wsrep-cluster-name=bench \
        --wsrep-cluster-address="$cluster" --wsrep-node-name="node$node" \
        --wsrep-node-address="127.0.0.1:$((base + 1))" --wsrep-slave-threads=2 \
        --wsrep-sst-method=rsync --wsrep-sst-receive-address="127.0.0.1:$((base + 3))" \
        --wsrep-provider-options="gmcast.listen_addr=tcp://127.0.0.1:$((base + 1));ist.recv_addr=127.0.0.1:$((base + 2))" \
        >"$dir/$node.log" 2>&1 &
    pids+=($!)
    local pid=$!
    # Bounded by the server's own end, and by two minutes.
    for _ in $(seq 240); do
        kill -0 "$pid" 2>/dev/null || break
        state=$(client "$node" -e "SHOW STATUS LIKE 'wsrep_local_state_comment'" 2>/dev/null | cut -f2) || true
        [ "$state" = Synced ] && return
        sleep 0.5
    done
    tail -n 30 "$dir/$node.log" >&2
    say "node $node did not start"
    exit 1
}

for node in 1 2 3; do
    mariadb-install-db --no-defaults --user="$user" --datadir="$dir/$node" --skip-test-db \
        --auth-root-authentication-method=normal >"$dir/$node.log" 2>&1 || {
        tail -n 20 "$dir/$node.log" >&2
        say "node $node has no data directory"
        exit 1
    }
done
start 1 gcomm://
start 2 gcomm://127.0.0.1:14511
start 3 gcomm://127.0.0.1:14511

# round NAME FILE: rows a second of one load, in a database of its own.
round() {
    client 1 -e "CREATE DATABASE $1;
        CREATE TABLE $1.item(id INTEGER PRIMARY KEY, name TEXT, amount INTEGER, remark TEXT)"
    local began ended last
    began=$(date +%s%N)
    client 1 "$1" <"$given/$2"
    # A read that waits until the node has applied all that the cluster had committed before it.
    local wait="SET SESSION wsrep_sync_wait = 15; SELECT max(id) FROM item"
    last=$(client 2 "$1" -e "$wait" & client 3 "$1" -e "$wait" & wait)
    ended=$(date +%s%N)
    [ "$(printf '%s\n' "$last" | sort -u)" = $((rows - 1)) ] || { say "rows are missing: $last"; exit 1; }
    echo $((rows * 1000000000 / (ended - began)))
}

# measure LINE FILE FLUSH: one round to warm up, then three that count.
measure() {
    local node rates
    for node in 1 2 3; do
        client "$node" -e "SET GLOBAL innodb_flush_log_at_trx_commit = $3"
    done
    round "$1_warm" "$2" >/dev/null
    rates=$(for number in 1 2 3; do round "$1_$number" "$2"; done)
    printf '%s: %s\n' "$1" "$(printf '%s\n' "$rates" | sort -n | sed -n 2p)"
}

measure galera_rows_per_s rows.sql 1
measure galera_statement_rows_per_s statements.sql 1
measure galera_relaxed_rows_per_s rows.sql 2
