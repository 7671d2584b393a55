# Two whole nodes renew their certificates, the second while the first's former one is still valid,
# and by both versions of IKE, while rows are written at both: no link ends, and the rows are at
# both. Afterwards the former certificate is taken no more, and a link that is made anew is made with
# the new one.
hosts a b
A=10.0.0.1 B=10.0.0.2
capture wire
for host in a b; do start_node $host v4; done
KEY=$(tutti_on a cluster generate-key) || fail "no key"
active() { peers_say a "Active as peer-b" && peers_say b "Active as peer-a"; }
presented() { tutti_on "$1" status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["certificate"])'; }
presents_another() { [ "$(presented "$1")" != "$2" ]; }
renewal_over() { tutti_on "$1" certificate show --json | grep -q '"former": null' && knows "$1"; }
knows() { tutti_on "$1" certificate show | grep -q "knows them"; }
ended() { grep -c "link with .* ended" "$OUT/$1-serve.log"; }
hears_of() { tutti_on "$1" events | grep -q "announced another certificate"; }
write() {
  tutti_on "$1" tables insert note "{\"id\": \"$2-$1\", \"text\": \"plainrow-$2-$1\"}" > /dev/null ||
    fail "insert $2 at $1"
}

for profile in ikev2 main-mode; do
  CLUSTER=(--profile $profile)
  cluster_set a "$KEY" $A
  cluster_set a "$KEY" $A $B
  cluster_set b "$KEY" $A $B
  until_true 90 active || fail "$profile: $(tutti_on a peers; tutti_on b peers)"
  before="$(ended a) $(ended b)"
  for host in a b; do
    old=$(presented $host)
    write a "$profile-$host-before"
    tutti_on $host certificate renew || fail "renewal at $host"
    write b "$profile-$host-told"
    until_true 60 presents_another $host "$old" || fail "$host: $(tutti_on $host certificate show)"
    write a "$profile-$host-after"
    until_true 60 hears_of $([ $host = a ] && echo b || echo a) || fail "no word of $host's"
    mark "$profile: $host presents its new certificate"
  done
  for host in a b; do
    until_true 120 renewal_over $host || fail "$host: $(tutti_on $host certificate show)"
  done
  mark "$profile: the former ones are forgotten"
  until_true 60 same_digests a b || fail "$profile: digests differ"
  [ "$(ended a) $(ended b)" = "$before" ] || fail "$profile: a link ended: $before, now $(ended a) $(ended b)"
done
kill_role b serve
role b serve --name peer-b --address $B
until_true 90 active || fail "anew: $(tutti_on a peers; tutti_on b peers)"
mark "a new link stands"
end_capture wire
only_ipsec wire
! grep -qa plainrow "$OUT/wire.pcap" || fail "row text in clear on the wire"
