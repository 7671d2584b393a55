# Different keys: both say so within seconds, and no packet passes in clear or in AH.
hosts a b
capture wire
start_tunnels a v4 "$KEY" a b
start_tunnels b v4 "another-key-0123456789abcdef0123456789abcdef" a b
until_state 40 a 10.0.0.2 AuthenticationFailed ||
  fail "a does not name it: $(tutti_on a tunnels)"
until_state 40 b 10.0.0.1 AuthenticationFailed ||
  fail "b does not name it: $(tutti_on b tunnels)"
tutti_on a tunnels
tutti_on b tunnels
tcp_crosses a b 10.0.0.2 4 && fail "TCP passed with a wrong key"
end_capture wire
ip -n a xfrm state | grep -q auth-trunc && fail "an SA was keyed"
[ "$(tcpdump -nr "$OUT/wire.pcap" 'tcp or ip proto 51' 2> /dev/null | wc -l)" = 0 ] ||
  fail "TCP or AH on the wire"
