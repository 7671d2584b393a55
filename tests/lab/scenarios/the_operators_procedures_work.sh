# Adoption with a backup, removal, rejoining, new hardware at the same address, all three off and on
# in each order, a peer's address changed in its settings: between whole nodes, with real AH.
hosts a b c
A=10.0.0.1 B=10.0.0.2 C=10.0.0.3
capture wire
for host in a b c; do start_node $host any; done
KEY=$(tutti_on a cluster generate-key) || fail "no key"
says() { until_true 120 peers_say "$@" || fail "$1 does not say '$2': $(tutti_on "$1" peers)"; }
three() { local host; for host in a b c; do says $host "Active as" 2; done; }
write() { tutti_on "$1" tables insert note "{\"id\": \"$2\", \"text\": \"plainrow-$2\"}" || fail "insert $2"; }
has() { until_true 60 rows_say "$1" "plainrow-$2" || fail "$1 lacks the row $2"; }
backups() { find "/tmp/n/$1/state/serve" -name 'backup-*' | grep -c .; }

write b own-of-b
cluster_set a "$KEY" $A
cluster_set a "$KEY" $A $B
# Without the word for it nothing is joined.
echo -n "$KEY" > /tmp/n/b/key
tutti_on b cluster set --key-file /tmp/n/b/key --peer1 $A --peer2 $B > "$OUT/unconfirmed" 2>&1 &&
  fail "joined without a confirmation"
grep -q "confirm" "$OUT/unconfirmed" || fail "not said: $(cat "$OUT/unconfirmed")"
cluster_set b "$KEY" $A $B
says a "Active as peer-b"
says b "Active as peer-a"
rows_say b own-of-b && fail "what a joiner had is still there"
[ "$(backups b)" -ge 1 ] || fail "no backup of what b had: $(ls /tmp/n/b/state/serve)"
for host in a b c; do cluster_set $host "$KEY" $A $B $C; done
three
write a first
for host in b c; do has $host first; done
mark "adopted, with a backup"

# Removing c: on c first, then on the others.
tutti_on c cluster clear || fail "c cannot leave"
for host in a b; do cluster_set $host "$KEY" $A $B; done
no_sas() { ! ip -n "$1" xfrm state | grep -q "$2"; }
for host in a b; do until_true 60 no_sas $host $C || fail "$host has SAs with c"; done
has c first
write a after-the-removal
has b after-the-removal
end_capture wire
on c timeout 5 nc -z -w 3 $A 4372 && fail "c reaches the port of replication"
rows_say c after-the-removal && fail "c still gets rows"
capture later
mark "removed; it keeps its data and gets nothing"

write c written-apart
for host in a b c; do cluster_set $host "$KEY" $A $B $C; done
three
has c after-the-removal
rows_say c written-apart && fail "a joiner's own rows are still there"
until_true 60 same_digests a b c || fail "digests differ"
mark "joined again"

# New hardware at c's address: nothing of the old one is left.
kill_node c
rm -rf /tmp/n/c/state /tmp/n/c/run
mkdir -p /tmp/n/c/state /tmp/n/c/run
write a while-replaced
start_node c any
cluster_set c "$KEY" $A $B $C
three
has c while-replaced
write c by-the-new-one
for host in a b; do has $host by-the-new-one; done
mark "replaced by new hardware"

for order in "a b c" "a c b" "b a c" "b c a" "c a b" "c b a"; do
  for host in a b c; do kill_node $host; done
  for host in $order; do start_roles $host any; done
  three
  row=on-again-${order// /}
  write b $row
  for host in a c; do has $host $row; done
  mark "all off, and on: $order"
done

# b moves to another address, as System > Network has it done.
NEW=10.0.0.22 before=$(role_pid b serve)
tutti_on b settings set "ipv4={\"static\": {\"address\": \"$NEW\", \"prefix\": 24}}" ||
  fail "b does not take its new address"
ip -n b addr show dev eth0 | grep -q "$NEW/24" || fail "b has no $NEW: $(ip -n b addr)"
tutti_on b settings confirm || fail "the new address of b is not confirmed"
for host in a c; do says $host Unreachable; done
for host in a c b; do cluster_set $host "$KEY" $A $NEW $C; done
three
for host in a c; do until_true 60 no_sas $host "$B " || fail "$host has SAs with the old address"; done
write b from-the-new-address
for host in a c; do has $host from-the-new-address; done
until_true 60 same_digests a b c || fail "digests differ"
[ "$(role_pid b serve)" = "$before" ] && kill -0 "$before" || fail "serve on b was restarted"
mark "its address changed"
end_capture later
for part in wire later; do
  only_ipsec $part
  grep -qa plainrow "$OUT/$part.pcap" && fail "row text in clear on the wire"
done
true
