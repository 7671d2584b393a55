#!/bin/bash
# Has tshark dissect every capture of ISAKMP that the lab left: nothing is malformed, as it came and
# again with the keys that our `ike` logged beside it, where tshark opens protected messages and reads
# what is in them. Of those two kinds are left out, by name, which it opens with keys that are not
# theirs: IKE_INTERMEDIATE (exchange 43), whose keys are those of before it, and repeated messages
# of IKEv1, which tshark takes for new ones that follow themselves. Where the kernels' SAs lie
# beside a capture, scapy verifies every AH packet's ICV: here and not in the guest, whose emulated
# processor takes minutes for it.
#
#   dissect.sh DIR       prints PASS or FAIL for each capture
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# Prints what was left out, and the numbers of the messages that are malformed all the same.
judge='
  { again = seen[$5]++ }
  $4 == "" { next }
  $3 == 43 { intermediate++; next }
  $2 == "0x10" && again { repeated++; next }
  { bad = bad " " $1 }
  END {
    if (intermediate) printf ", %d of IKE_INTERMEDIATE left out", intermediate
    if (repeated) printf ", %d repeated ones of IKEv1 left out", repeated
    if (bad) { print " malformed with keys:" bad; exit 1 }
  }'
dir=$1 failed= opened=0 captures=0 verified=0
while IFS= read -r capture; do
  options=()
  if [ -e "$(dirname "$capture")/isakmp.keys" ]; then
    while IFS= read -r line; do options+=(-o "uat:$line"); done \
      < "$(dirname "$capture")/isakmp.keys"
  fi
  name=${capture#"$dir"/}
  seen=$(tshark -r "$capture" -Y isakmp 2> /dev/null | wc -l)
  [ "$seen" -gt 0 ] || continue
  captures=$((captures + 1))
  malformed=$(tshark -r "$capture" -Y 'isakmp and _ws.malformed' 2> /dev/null)
  # Encrypted, and what is inside was read all the same: AUTH, or HASH and a proposal of AH.
  inside=$(tshark -r "$capture" "${options[@]}" -Y 'isakmp.flag_e == 1 and isakmp.hash or
    isakmp.typepayload == 46 and isakmp.auth.data' 2> /dev/null | wc -l)
  opened=$((opened + inside))
  left=$(tshark -r "$capture" "${options[@]}" -Y isakmp -T fields -e frame.number \
    -e isakmp.version -e isakmp.exchangetype -e _ws.malformed -e udp.payload 2> /dev/null |
    awk -F '\t' "$judge") || malformed="$malformed$left"
  if [ -n "$malformed" ]; then
    printf 'FAIL %s is malformed\n%s\n' "$name" "$malformed"
    failed=yes
  else
    echo "PASS $name: $seen messages, $inside opened$left"
  fi
  states=${capture%.pcap}.states
  [ -e "$states" ] || continue
  if said=$(/usr/bin/python3 "$here/../image/icv.py" "$capture" "$states" 2>&1); then
    verified=$((verified + 1))
    echo "PASS $name: ICVs, $said"
  else
    printf 'FAIL %s: ICVs\n%s\n' "$name" "$said"
    failed=yes
  fi
done < <(find "$dir" -name '*.pcap' | sort)
[ "$captures" -gt 0 ] || { echo "FAIL there is no capture of ISAKMP in $dir"; exit 1; }
[ "$verified" -gt 0 ] || { echo "FAIL no ICV was verified"; exit 1; }
[ "$opened" -gt 0 ] || { echo "FAIL no protected message was opened"; exit 1; }
[ -z "$failed" ]
