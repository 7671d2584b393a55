#!/bin/bash
# What systemd says of a unit's sandbox, from 0 (tight) to 10: exposure.sh OUT UNIT
set -euo pipefail
out=${1:?usage: exposure.sh OUT UNIT} unit=${2:?usage: exposure.sh OUT UNIT}
said=$(chroot "$out/image/root" systemd-analyze security --offline=true --no-pager "$unit" |
    sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p')
[ -n "$said" ] || { echo "exposure of $unit: systemd-analyze names none" >&2; exit 1; }
echo "$said"
