# SAs and policies that somebody flushes come back while ike and keyer live. Killing ike and keyer leaves policies and SAs; flushing those from the kernel too leaves the
# nftables rules: at no point does a clear packet pass. With roles back, traffic is back.
hosts a b
for host in a b; do
  firewall $host v4 a b
  start_tunnels $host v4 "$KEY" a b
done
for pair in "a 10.0.0.2" "b 10.0.0.1"; do
  until_state 40 $pair Up || fail "no tunnel: $(tutti_on a tunnels; tutti_on b tunnels)"
done
capture wire
reaches a b 10.0.0.2 443 || fail "no TCP through the rules and AH"
ip -n a xfrm state flush
until_true 60 reaches a b 10.0.0.2 443 10 || fail "SAs stay lost: $(tutti_on a tunnels)"
until_true 60 one_pair a 10.0.0.2 || fail "not one pair: $(tutti_on a tunnels)"
policies() { [ "$(ip -n a xfrm policy | grep -c '^src')" = "$1" ]; }
held=$(ip -n a xfrm policy | grep -c '^src')
ip -n a xfrm policy flush
until_true 60 policies "$held" || fail "policies stay lost: $(ip -n a xfrm policy)"
reaches a b 10.0.0.2 443 || fail "no TCP after the policies came back"
for host in a b; do
  kill_role $host ike KILL
  kill_role $host keyer KILL
done
reaches a b 10.0.0.2 443 || fail "the standing SAs went with the daemons"
for host in a b; do ip -n $host xfrm state flush; done
reaches a b 10.0.0.2 443 3 && fail "TCP passed with policies and no SA"
for host in a b; do ip -n $host xfrm policy flush; done
reaches a b 10.0.0.2 443 3 && fail "TCP passed with the rules alone"
reaches b a 10.0.0.1 443 3 && fail "TCP passed with the rules alone"
for host in a b; do start_tunnels $host v4 "$KEY" a b; done
for pair in "a 10.0.0.2" "b 10.0.0.1"; do
  until_state 60 $pair Up || fail "not back: $(tutti_on a tunnels; tutti_on b tunnels)"
done
until_true 40 reaches a b 10.0.0.2 443 10 || fail "no TCP after the restart"
end_capture wire
only_ipsec wire
