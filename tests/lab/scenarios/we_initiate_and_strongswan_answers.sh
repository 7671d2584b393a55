# We start the exchange with a strongSwan peer; then strongSwan rekeys the CHILD SA and the IKE SA
# with us under traffic, and nothing is lost.
. "$LAB/strongswan.sh"
hosts a b
charon b
capture wire
swan_peer b v4 "$KEY" a
start_tunnels a v4 "$KEY" a b
until_state 40 a 10.0.0.2 Up || fail "not up: $(tutti_on a tunnels)"
[ "$(begun_by)" = ours ] || fail "strongSwan began: $(swan b --list-sas)"
swan b --list-sas
swan b --list-sas | grep -q 'TRANSPORT, AH:HMAC_SHA2_256_128/ESN' || fail "not the AH we want"
tcp_crosses a b 10.0.0.2 || fail "no TCP from us to strongSwan"

outbound() { ip -n a xfrm state | grep -A1 '^src 10.0.0.1 dst' | grep -o 'spi 0x[0-9a-f]*'; }
before=$(outbound)
stream_start a b 10.0.0.2
swan b --rekey --child ah > "$OUT/rekey-child" 2>&1 || fail "rekey of the CHILD SA failed"
until_true 30 sh -c "! ip -n a xfrm state | grep -q '$before'" || fail "the old SA stayed"
swan b --rekey --ike peer > "$OUT/rekey-ike" 2>&1 || fail "rekey of the IKE SA failed"
sleep 1
stream_end
has_state a 10.0.0.2 Up || fail "down after the rekeys: $(tutti_on a tunnels)"
tcp_crosses a b 10.0.0.2 || fail "no TCP after the rekeys"
end_capture wire
only_ipsec wire
