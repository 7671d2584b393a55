# Both sides start at once; then strongSwan deletes the CHILD SA, deletes the IKE SA, dies without
# a word and returns: each time one AH pair stands again, and its absence is named.
. "$LAB/strongswan.sh"
hosts a b
capture wire
charon b
charon_pid=$!
start_tunnels a v4 "$KEY" a b
swan_peer b v4 "$KEY" a start
until_true 40 one_pair a 10.0.0.2 || fail "not up: $(tutti_on a tunnels)"
# Whichever began: the surplus one of two that crossed goes.
until_true 40 alone || fail "several stay: $(swan b --list-sas)"
one_pair a 10.0.0.2 || fail "not one pair: $(tutti_on a tunnels; ip -n a xfrm state)"
tcp_crosses a b 10.0.0.2 || fail "no TCP after the start"

before=$(outbound a 10.0.0.2)
swan b --terminate --child ah > "$OUT/terminate-child" 2>&1 || fail "no terminate --child"
until_true 40 renewed a 10.0.0.2 "$before" || fail "child not renewed: $(tutti_on a tunnels)"
tcp_crosses a b 10.0.0.2 || fail "no TCP after the child was deleted"

before=$(outbound a 10.0.0.2)
swan b --terminate --ike peer > "$OUT/terminate-ike" 2>&1 || fail "no terminate --ike"
until_true 40 renewed a 10.0.0.2 "$before" || fail "IKE SA not renewed: $(tutti_on a tunnels)"
tcp_crosses b a 10.0.0.1 || fail "no TCP after the IKE SA was deleted"

kill -9 $charon_pid
wait $charon_pid 2> /dev/null
rm -f /tmp/n/b/vici
ip -n b xfrm state flush
ip -n b xfrm policy flush
until_state 60 a 10.0.0.2 NoAnswer || fail "its death is not seen: $(tutti_on a tunnels)"
[ -z "$(outbound a 10.0.0.2)" ] || fail "an SA to a dead peer: $(ip -n a xfrm state)"
charon b
swan_peer b v4 "$KEY" a
until_true 60 one_pair a 10.0.0.2 || fail "not back: $(tutti_on a tunnels)"
tcp_crosses a b 10.0.0.2 || fail "no TCP after its return"
end_capture wire
# While strongSwan is away its kernel has no policies: what ours sends is judged.
only_ipsec wire 'src host 10.0.0.1'
