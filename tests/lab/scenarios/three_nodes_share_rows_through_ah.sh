# Three whole nodes cluster in the guide's order; a row written at each is seen at all, one dies
# and comes back to what it missed. The wire shows only UDP 500 and AH, no row in clear, and scapy
# finds the ICVs right (dissect.sh).
hosts a b c
capture wire
for host in a b c; do start_node $host v4; done
mark started
KEY=$(tutti_on a cluster generate-key) || fail "no key"
A=10.0.0.1 B=10.0.0.2 C=10.0.0.3
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

kill_node c
tutti_on a tables insert note '{"id": "away", "text": "plainrow-while-away"}' || fail "insert"
until_true 60 rows_say b "plainrow-while-away" || fail "b lacks the row"
mark "one is away"
start_roles c v4
mark "it is back"
until_true 120 rows_say c "plainrow-while-away" || fail "c did not catch up: $(tutti_on c peers)"
mark "it caught up"
until_true 60 same_digests a b c || fail "digests differ after the return"
end_capture wire
mark converged
only_ipsec wire
! grep -qa plainrow "$OUT/wire.pcap" || fail "row text in clear on the wire"
