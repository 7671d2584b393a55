# strongSwan starts the exchange (we have not heard of it before) and AH comes up both ways.
. "$LAB/strongswan.sh"
hosts a b
charon b
capture wire
swan_peer b v4 "$KEY" a
# Ours may also initiate to its listed peer: that does not reach b.
hold
start_tunnels a v4 "$KEY" a b
until_true 20 test -S /tmp/n/a/run/ike.sock || fail "ike did not start"
swan b --initiate --child ah --timeout 30 > "$OUT/initiate" 2>&1 ||
  { cat "$OUT/initiate"; fail "strongSwan could not initiate"; }
until_state 40 a 10.0.0.2 Up || fail "not up: $(tutti_on a tunnels)"
[ "$(begun_by)" = theirs ] || fail "we began: $(swan b --list-sas)"
swan b --list-sas
swan b --list-sas | grep -q 'TRANSPORT, AH:HMAC_SHA2_256_128/ESN' || fail "not the AH we want"
tcp_crosses a b 10.0.0.2 || fail "no TCP from us to strongSwan"
tcp_crosses b a 10.0.0.1 || fail "no TCP from strongSwan to us"
[ "$(ip -n a xfrm state | grep -c '^src 10.0.0.1 dst')" = 1 ] || fail "not one outbound SA"
end_capture wire
only_ipsec wire
