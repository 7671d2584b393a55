#!/bin/bash
# All lab scenarios in one boot of the lab kernel; prints PASS or FAIL for each, brings captures
# and logs to out/lab (or $TUTTI_LAB_OUT), exits non-zero if any failed.
#
#   all.sh [NAME...]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
names=("$@")
# The longest first, so that the others fill the time beside them. strongswan_with_ml_kem needs
# another guest, in which `./build.sh test lab` runs it.
[ ${#names[@]} -gt 0 ] || names=(
  scenarios/{a_certificate,every,the_operators,our_rekeys,prerequisites,a_restart_of_any}_*.sh
  scenarios/strongswan_{takes,with_main}_*.sh
  $(ls scenarios/*.sh | grep -vE '/(a_certificate|every|the_operators|our_rekeys|prerequisites)_' |
    grep -vE '/(a_restart_of_any_|strongswan_(takes|with_main|with_ml_kem))')
)
exec ./run.sh --timeout 3000 --out "${TUTTI_LAB_OUT:-$here/../../out/lab}" -- \
  lab/inside.sh "${names[@]}"
