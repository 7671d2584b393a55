#!/bin/bash
# Runs scenarios inside the lab guest, one after the other, each from nothing; prints
# `PASS name` or `FAIL name` for each and leaves what a failed one said in /out/NAME/.
#
#   inside.sh [--limit SECONDS] NAME...        the names of files in scenarios/, without .sh
limit=150
[ "$1" = --limit ] && { limit=$2; shift 2; }
LAB=$(cd "$(dirname "$0")" && pwd)
export LAB
failed=0
for name in "$@"; do
  name=$(basename "$name" .sh)
  begin=$SECONDS
  export OUT=/out/$name
  mkdir -p "$OUT"
  # Its own session, so that nothing it started outlives it.
  if timeout -k 5 $limit setsid -w bash -c '. "$LAB/lib.sh"; clean; trap clean EXIT
      . "$LAB/scenarios/$0.sh"' "$name" > "$OUT/said" 2>&1; then
    echo "PASS $name ($((SECONDS - begin)) s)"
  else
    echo "FAIL $name ($((SECONDS - begin)) s)"
    tail -15 "$OUT/said"
    for log in "$OUT"/*.log; do [ -e "$log" ] && { echo "    -- ${log##*/}"; tail -8 "$log"; }; done
    failed=1
  fi
done
exit $failed
