# Two of our nodes with one key bring up AH by themselves; TCP crosses both ways, and the wire
# shows UDP 500, protocol 51, ARP and ICMP alone. scapy finds every ICV right.
hosts a b
capture wire
for host in a b; do start_tunnels $host v4 "$KEY" a b; done
for pair in "a 10.0.0.2" "b 10.0.0.1"; do
  until_state 40 $pair Up || fail "no tunnel: $(tutti_on a tunnels; tutti_on b tunnels)"
done
tcp_crosses a b 10.0.0.2 || fail "no TCP from a to b"
tcp_crosses b a 10.0.0.1 || fail "no TCP from b to a"
states wire
end_capture wire
only_ipsec wire
ip -n a xfrm state | grep -q 'flag align4 esn' || fail "no 64-bit sequence numbers"
tutti_on a tunnels
