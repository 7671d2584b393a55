# b is behind a router that translates addresses: AH cannot pass it, and both sides say why.
hosts a r
A=10.0.0.1 R=10.0.0.2 B=192.168.5.2
ip netns add b
mkdir -p /tmp/n/b/run /tmp/n/b/state
ip link add inside netns r type veth peer name eth0 netns b
ip -n r addr add 192.168.5.1/24 dev inside
ip -n r link set inside up
ip -n b link set lo up
ip -n b addr add $B/24 dev eth0
ip -n b link set eth0 up
ip -n b route add default via 192.168.5.1
on r sysctl -qw net.ipv4.ip_forward=1
on r nft -f - << X || fail "no translation"
table ip nat {
  chain in { type nat hook prerouting priority dstnat; iifname "eth0" udp dport 500 dnat to $B; }
  chain out { type nat hook postrouting priority srcnat; oifname "eth0" masquerade; }
}
X
at() { if [ "$1" = a ]; then echo $A; else echo $B; fi; }
for host in a b; do start_node $host at; done
KEY=$(tutti_on a cluster generate-key) || fail "no key"
says() { until_true 120 peers_say "$1" "$2" || fail "$1 does not say '$2': $(tutti_on "$1" peers)"; }
named() {
  for profile in ikev2 main-mode; do
    CLUSTER=(--profile $profile)
    cluster_set a "$KEY" $A $R
    cluster_set b "$KEY" $A $B
    for host in a b; do says $host "NAT between us"; done
    mark "named with $profile, $1"
    for host in a b; do tutti_on $host cluster clear || fail "clear"; done
  done
}
named "which keeps ports"
# One that changes ports, and forwards none: b's requests come from any port.
on r nft -f - << X || fail "no translation of ports"
flush ruleset
table ip nat {
  chain out { type nat hook postrouting priority srcnat; oifname "eth0" udp sport 500 masquerade to :40000-40100; }
}
X
# The router goes on with what it translates already: b has another address.
kill_node b
B=192.168.5.3
ip -n b addr add $B/24 dev eth0
start_roles b at
named "which changes them"
