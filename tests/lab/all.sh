#!/bin/bash
# All lab scenarios in one boot of the lab kernel; prints PASS or FAIL for each, brings captures
# and logs to out/lab (or $TUTTI_LAB_OUT), exits non-zero if any failed.
#
#   all.sh [NAME...]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
names=("$@")
# The longest first, so that the others fill the time beside it.
[ ${#names[@]} -gt 0 ] || names=(scenarios/three_*.sh $(ls scenarios/*.sh | grep -v /three_))
exec ./run.sh --timeout 1500 --out "${TUTTI_LAB_OUT:-$here/../../out/lab}" -- \
  lab/inside.sh "${names[@]}"
