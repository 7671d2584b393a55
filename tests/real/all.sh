#!/usr/bin/env bash
# Two public databases, made into SQLite files, through three processes: imported at one and equal
# at all, also after edits on all three while apart. sqldiff then compares what they hold.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
out=${TUTTI_OUT:-$here/../../out}/real
mkdir -p "$out"
out=$(readlink -f "$out")
failed=0

# same DIR: every table of every pair of copies, by a tool that knows nothing of replication.
same() {
    local stage table tables compared=0 difference
    for stage in imported edited; do
        tables=$(sqlite3 "$1/$stage-peer-a.db" "SELECT name FROM _tutti_table")
        for table in $tables; do
            for other in b c; do
                difference=$(sqldiff --primarykey --table "$table" \
                    "$1/$stage-peer-a.db" "$1/$stage-peer-$other.db")
                if [ -n "$difference" ]; then
                    printf '%s, %s at a and %s:\n%.2000s\n' \
                        "$stage" "$table" "$other" "$difference"
                    return 1
                fi
                compared=$((compared + 1))
            done
        done
    done
    echo "sqldiff: $compared comparisons, no difference"
    [ "$compared" -gt 0 ]
}

# database NAME TABLE.COLUMN: the last is what all three edit.
database() {
    local kept="$out/$1"
    rm -rf "$kept"
    mkdir -p "$kept"
    { [ -s "$out/$1.db" ] || python3 "$here/$1.py" "$out/$1.db"; } &&
        TUTTI_IMPORT="$out/$1.db" TUTTI_EDIT="$2" TUTTI_KEEP="$kept" \
            cargo test --locked --test real -- --nocapture &&
        same "$kept" && rm -rf "$kept"
}

for entry in chinook:artist.name nycflights13:planes.manufacturer; do
    name=${entry%%:*}
    what="$name is equal on three processes, also after edits on all while apart"
    if database "$name" "${entry#*:}"; then
        echo "PASS $what"
    else
        echo "FAIL $what"
        failed=1
    fi
done
exit $failed
