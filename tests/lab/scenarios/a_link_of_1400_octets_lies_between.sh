# Two routers with a link of 1,400 octets between them, which neither peer knows of: IKE with ML-KEM
# passes in its own fragments, never in IP's; TCP finds the path's size and a megabyte arrives whole,
# in both directions, over IPv4 and IPv6. The same with strongSwan at the other end, whose certificate,
# like ours, is longer than the link takes at once. The routers change what routers may: TTL and hop
# limit, DSCP and flow label; no ICV minds, by the kernels or by scapy.
link() { # NETNS:DEVICE NETNS:DEVICE MTU
  ip link add "${1#*:}" netns "${1%:*}" mtu "$3" type veth peer name "${2#*:}" netns "${2%:*}" mtu "$3"
  ip -n "${1%:*}" link set "${1#*:}" up
  ip -n "${2%:*}" link set "${2#*:}" up
}
for host in a r s b; do
  ip netns add $host
  ip -n $host link set lo up
  mkdir -p /tmp/n/$host/run /tmp/n/$host/state
done
for host in r s; do
  on $host sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
done
link a:eth0 r:left 1500
link r:middle s:middle 1400
link s:right b:eth0 1500
address() { ip -n "$1" addr add "$2" dev "$3" nodad; }
address a 10.1.0.1/24 eth0
address r 10.1.0.9/24 left
address r 10.2.0.1/24 middle
address s 10.2.0.2/24 middle
address s 10.3.0.9/24 right
address b 10.3.0.2/24 eth0
address a fd01::1/64 eth0
address r fd01::9/64 left
address r fd02::1/64 middle
address s fd02::2/64 middle
address s fd03::9/64 right
address b fd03::2/64 eth0
for route in "a 10.3.0.0/24 10.1.0.9" "r 10.3.0.0/24 10.2.0.2" "s 10.1.0.0/24 10.2.0.1" \
  "b 10.1.0.0/24 10.3.0.9" "a fd03::/64 fd01::9" "r fd03::/64 fd02::2" "s fd01::/64 fd02::1" \
  "b fd01::/64 fd03::9"; do
  set -- $route
  ip -n "$1" route add "$2" via "$3" || fail "no route: $route"
done
for host in r s; do
  on $host nft -f - << X || fail "nft refused the marks"
table inet marks {
  chain forward { type filter hook forward priority 0
    ip dscp set cs1
    ip6 dscp set cs1
    ip6 flowlabel set 77
  }
}
X
done
v4() { case $1 in a) echo 10.1.0.1 ;; b) echo 10.3.0.2 ;; esac; }
v6() { case $1 in a) echo fd01::1 ;; b) echo fd03::2 ;; esac; }
head -c 1000000 /dev/urandom > /tmp/n/sent
# megabyte FROM TO ADDRESS
megabyte() {
  local server
  nsenter --net="/run/netns/$2" nc -l "$3" 443 > /tmp/n/arrived &
  server=$!
  until_true 10 listens $server 443 || fail "nobody listens on $2"
  on "$1" timeout 60 nc -N "$3" 443 < /tmp/n/sent
  wait $server
  cmp /tmp/n/sent /tmp/n/arrived
}
# watch NAME: what crosses the link, into $OUT/NAME.pcap.
watch() {
  ip netns exec r tcpdump -i middle -U -s 0 -w "$OUT/$1.pcap" 2> "$OUT/$1.tcpdump" &
  dump=$!
  until_true 20 grep -q listening "$OUT/$1.tcpdump" || fail "tcpdump did not start"
}
# end_watch NAME: the last packets of TCP are in the file when nothing was added for a second.
end_watch() {
  until_true 30 sh -c "size=\$(stat -c %s $OUT/$1.pcap); sleep 1
    [ \$(stat -c %s $OUT/$1.pcap) = \$size ]"
  kill -INT $dump
  wait $dump 2> /dev/null
  captured $1 'ip[6:2] & 0x3fff != 0 or ip6 proto 44' && fail "$1: IP fragments"
  captured $1 'greater 1415' && fail "$1: a frame larger than the link"
  captured $1 '(ip proto 51 and ip[1] & 0xfc = 0x20 and ip[8] = 63)
    or (ip6 proto 51 and ip6[0:4] & 0x0fcfffff = 0x0200004d and ip6[7] = 63)' ||
    fail "$1: nothing was changed on the way"
  states $1
}
for family in v4 v6; do
  watch $family
  for host in a b; do
    firewall $host $family a b
    start_tunnels $host $family "$KEY" a b
  done
  until_state 60 a "$($family b)" Up || fail "$family: $(tutti_on a tunnels)"
  until_state 60 b "$($family a)" Up || fail "$family: $(tutti_on b tunnels)"
  mark "$family: up"
  megabyte a b "$($family b)" || fail "$family: a megabyte from a did not arrive whole"
  megabyte b a "$($family a)" || fail "$family: a megabyte from b did not arrive whole"
  mark "$family: a megabyte each way"
  end_watch $family
  # IKE_INTERMEDIATE carries more than a kilobyte of ML-KEM, so there were fragments of IKE's.
  fragments='udp port 500 and udp[24] = 53'
  [ $family = v6 ] && fragments='ip6 proto 17 and ip6[42:2] = 500 and ip6[64] = 53'
  captured $family "$fragments" || fail "$family: no IKE fragment (payload 53) on the wire"
  for host in a b; do
    kill_role $host ike
    kill_role $host keyer
    ip -n $host xfrm state flush
    ip -n $host xfrm policy flush
    rm -f /tmp/n/$host/run/*.sock
  done
done

on b nft flush ruleset
here4=$(declare -f v4) here6=$(declare -f v6)
. "$LAB/strongswan.sh"
eval "$here4; $here6"
charon b
PKI_COMMENT=$(printf 'long %.0s' $(seq 400))
. "$LAB/swan_pki.sh"
certificates 30 30 $P256
swan_certificates pubkey none 'send_cert = always'
peers_json a v4 a b
start_keyer a
watch swan
ours
until_state 60 a "$(v4 b)" Up || fail "strongSwan: $(tutti_on a tunnels)"
mark "strongSwan: up"
megabyte a b "$(v4 b)" || fail "strongSwan: a megabyte from us did not arrive whole"
megabyte b a "$(v4 a)" || fail "strongSwan: a megabyte to us did not arrive whole"
mark "strongSwan: a megabyte each way"
end_watch swan
for host in a b; do
  captured swan "src host $(v4 $host) and udp port 500 and udp[24] = 53" ||
    fail "strongSwan: no IKE fragment of $host"
done
only_ipsec swan
