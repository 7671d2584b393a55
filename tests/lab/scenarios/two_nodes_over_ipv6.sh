# The same on IPv6, where neighbour discovery must pass in clear or IKE never starts.
hosts a b
capture wire
for host in a b; do
  firewall $host v6 a b
  start_tunnels $host v6 "$KEY" a b
done
for pair in "a fd00::2" "b fd00::1"; do
  until_state 40 $pair Up || fail "no tunnel: $(tutti_on a tunnels; tutti_on b tunnels)"
done
reaches a b fd00::2 443 || fail "no TCP from a to b"
states wire
end_capture wire
only_ipsec wire
