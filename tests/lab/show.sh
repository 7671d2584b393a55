#!/bin/bash
# Shows one tunnel with strongSwan, as both ends and the wire see it; for a person to look at.
LAB=$(cd "$(dirname "$0")" && pwd)
. "$LAB/lib.sh"
. "$LAB/strongswan.sh"
hosts a b
capture wire
charon b
swan_peer b v4 "$KEY" a
start_tunnels a v4 "$KEY" a b
until_state 60 a 10.0.0.2 Up || fail "no tunnel: $(tutti_on a tunnels)"
tcp_crosses a b 10.0.0.2 || fail "no TCP"
end_capture wire
echo '--- tutti tunnels'
tutti_on a tunnels
echo '--- swanctl --list-sas'
swan b --list-sas
echo '--- ip xfrm state, without keys'
ip -n a xfrm state | grep -vE '0x[0-9a-f]{64}'
echo '--- the wire'
tcpdump -nr "$OUT/wire.pcap" udp port 500 or ip proto 51 2> /dev/null
