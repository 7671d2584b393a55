# Sourced after lib.sh, with FAMILY set (v4, v6) and AWAY where one is to be away: three whole nodes
# cluster in the guide's order; a row written at each is seen at all, one dies and comes back to what
# it missed. The wire shows only UDP 500, AH and ICMP, no row in clear, and scapy finds the ICVs right
# (dissect.sh).
hosts a b c
capture wire
for host in a b c; do start_node $host $FAMILY; done
mark started
KEY=$(tutti_on a cluster generate-key) || fail "no key"
A=$($FAMILY a) B=$($FAMILY b) C=$($FAMILY c)
cluster_set a "$KEY" $A
cluster_set a "$KEY" $A $B
cluster_set b "$KEY" $A $B
until_true 90 peers_say a "Active as peer-b" || fail "a: $(tutti_on a peers)"
until_true 90 peers_say b "Active as peer-a" || fail "b: $(tutti_on b peers)"
mark "two are a cluster"
for host in a b c; do cluster_set $host "$KEY" $A $B $C; done
for host in a b c; do
  until_true 90 peers_say $host "Active as" 2 || fail "$host: $(tutti_on $host peers)"
done
tutti_on c peers
mark "three are a cluster"
for host in a b c; do
  tutti_on $host tables insert note "{\"id\": \"$host\", \"text\": \"plainrow-by-$host\"}" ||
    fail "insert at $host"
done
for host in a b c; do
  for by in a b c; do
    until_true 60 rows_say $host "plainrow-by-$by" || fail "$host lacks the row of $by"
  done
done
until_true 60 same_digests a b c || fail "digests differ"
states wire
mark "rows of all at all"

if [ -n "${AWAY:-}" ]; then
  kill_node $AWAY
  tutti_on a tables insert note '{"id": "away", "text": "plainrow-while-away"}' || fail "insert"
  until_true 60 rows_say b "plainrow-while-away" || fail "b lacks the row"
  mark "one is away"
  start_roles $AWAY $FAMILY
  mark "it is back"
  until_true 120 rows_say $AWAY "plainrow-while-away" || fail "$AWAY did not catch up: $(tutti_on $AWAY peers)"
  mark "it caught up"
  until_true 60 same_digests a b c || fail "digests differ after the return"
fi
end_capture wire
mark converged
only_ipsec wire
! grep -qa plainrow "$OUT/wire.pcap" || fail "row text in clear on the wire"
