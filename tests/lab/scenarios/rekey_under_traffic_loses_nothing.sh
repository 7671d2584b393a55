# An SA's soft limit is reached while datagrams flow: the new pair takes over, none is lost, and
# never do two outbound SAs stay.
hosts a b
for host in a b; do start_tunnels $host v4 "$KEY" a b; done
for pair in "a 10.0.0.2" "b 10.0.0.1"; do
  until_state 40 $pair Up || fail "no tunnel: $(tutti_on a tunnels; tutti_on b tunnels)"
done
outbound() { ip -n a xfrm state | grep -A1 '^src 10.0.0.1 dst' | grep -o '0x[0-9a-f]*'; }
stream_start a b 10.0.0.2
for round in 1 2; do
  before=$(outbound)
  on a "$LAB/expire.py" 10.0.0.2 "$before" || fail "no expiry in round $round"
  until_true 40 sh -c "! ip -n a xfrm state | grep -q '$before'" ||
    fail "round $round: not rekeyed: $(tutti_on a tunnels)"
  sleep 0.5
done
stream_end
[ "$(outbound | wc -l)" = 1 ] || fail "not one outbound SA: $(outbound)"
tutti_on a tunnels
