#!/bin/bash
# All lab scenarios in one boot of the lab kernel; prints PASS or FAIL for each, brings captures
# and logs to out/lab (or $TUTTI_LAB_OUT), exits non-zero if any failed.
#
#   all.sh [NAME...]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
names=("$@")
[ ${#names[@]} -gt 0 ] || names=(scenarios/*.sh)
exec ./run.sh --timeout 900 --out "${TUTTI_LAB_OUT:-$here/../../out/lab}" -- \
  lab/inside.sh "${names[@]}"
