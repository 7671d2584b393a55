# Two whole nodes; `ike`, `serve` and `keyer` of one and `ike` of the other are killed and begin again,
# one after the other, while rows are written at both and datagrams cross. No datagram is missing,
# nothing passes in clear, and each row that a node said it took is at both. The AH pair is another
# one after `ike` alone: the restarts of `serve` and `keyer` leave every SA as it was. `ike` begins
# again at once, as systemd has it: the other side would take a peer that says nothing for 20 s for
# dead.
hosts a b
A=10.0.0.1 B=10.0.0.2
capture wire
for host in a b; do start_node $host v4; done
KEY=$(tutti_on a cluster generate-key) || fail "no key"
active() { peers_say a "Active as peer-b" && peers_say b "Active as peer-a"; }
cluster_set a "$KEY" $A
cluster_set a "$KEY" $A $B
cluster_set b "$KEY" $A $B
until_true 90 active || fail "$(tutti_on a peers; tutti_on b peers)"

# writes HOST: rows until the file /tmp/n/writing is gone; those that were taken are in taken-HOST.
writes() {
  local row=0
  while [ -e /tmp/n/writing ]; do
    row=$((row + 1))
    tutti_on "$1" tables insert note "{\"id\": \"$1-$row\", \"text\": \"plainrow-$1-$row\"}" \
      > /dev/null 2>&1 && echo "plainrow-$1-$row" >> "$OUT/taken-$1"
    sleep 1
  done
}
taken() { wc -l < "$OUT/taken-$1"; }
more_taken() { [ "$(taken "$1")" -gt "$2" ]; }
# The last row that one node took is at the other.
crossed() { rows_say "$2" "$(tail -1 "$OUT/taken-$1")\b"; }
# A row that each takes after this moment is at the other.
both_ways() {
  local host
  for host in a b; do
    until_true 60 more_taken $host $(($(taken $host) + 1)) || fail "$1: $host takes no more rows"
  done
  until_true 60 crossed a b || fail "$1: rows of a do not arrive: $(tutti_on b peers)"
  until_true 60 crossed b a || fail "$1: rows of b do not arrive: $(tutti_on a peers)"
  until_true 60 active || fail "$1: $(tutti_on a peers; tutti_on b peers)"
  mark "$1: rows cross both ways"
}
spis() { ip -n "$1" xfrm state | grep -o 'spi 0x[0-9a-f]*' | sort; }
without() { ! spis a | grep -q "$1" && ! spis b | grep -q "$1"; }

stream_start a b $B $A
touch /tmp/n/writing
for host in a b; do
  : > "$OUT/taken-$host"
  writes $host &
  writers="${writers:-} $!"
done
both_ways "before"

before=$(outbound a $B)
kill_role a ike KILL
role a ike
until_true 60 renewed a $B "$before" || fail "no new pair: $(tutti_on a tunnels)"
until_true 60 one_pair b $A || fail "no new pair: $(tutti_on b tunnels)"
until_true 60 without "$before" || fail "the former pair stays"
both_ways "ike began again"

before=$(spis a; spis b)
kill_role a serve KILL
rm -f /tmp/n/a/run/serve.sock
role a serve --name peer-a --address $A
until_true 60 tutti_on a status || fail "serve on a does not answer"
both_ways "serve began again"
[ "$(spis a; spis b)" = "$before" ] || fail "a restart of serve changed SAs: $before"

kill_role a keyer KILL
both_ways "without keyer"
start_keyer a
both_ways "keyer began again"
[ "$(spis a; spis b)" = "$before" ] || fail "a restart of keyer changed SAs: $before"

# What b begins anew, `ike` of a keys through the keyer that began again.
before=$(outbound a $B)
kill_role b ike KILL
role b ike
until_true 60 renewed a $B "$before" || fail "not keyed: $(tutti_on a tunnels)"
until_true 60 one_pair b $A || fail "not keyed: $(tutti_on b tunnels)"
both_ways "ike of b began again"

rm /tmp/n/writing
wait $writers
stream_end
mark "$(tail -1 "$OUT/stream-sent") datagrams, rows: a $(taken a), b $(taken b)"
until_true 60 same_digests a b || fail "digests differ"
for host in a b; do
  tutti_on $host tables show --limit 1000 note > "$OUT/rows-$host"
  missing=$(cat "$OUT/taken-a" "$OUT/taken-b" | sort |
    comm -23 - <(grep -o 'plainrow-[ab]-[0-9]*' "$OUT/rows-$host" | sort -u))
  [ -z "$missing" ] || fail "$host lacks $missing"
done
end_capture wire
only_ipsec wire
! grep -qa plainrow "$OUT/wire.pcap" || fail "row text in clear on the wire"
