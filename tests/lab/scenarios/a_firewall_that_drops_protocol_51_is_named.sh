# Something between two whole nodes drops IP protocol 51 and lets UDP 500 through: IKE stays up, and
# both sides name it, in the page's words, among the prerequisites and in `tutti tunnels`. The drop is
# lifted: they go on, and it stays the last error.
hosts a b
A=10.0.0.1 B=10.0.0.2
for host in a b; do start_node $host v4; done
KEY=$(tutti_on a cluster generate-key) || fail "no key"
# From the bridge: neither node's own rules or counters know of it.
drop() {
  nft -f - << 'X'
table bridge cut {
  chain forward { type filter hook forward priority 0; ip protocol 51 drop; }
}
X
}
named() {
  peers_say $1 "Protocol 51 blocked" && tutti_on $1 tunnels | grep -q "^10.*: protocol 51 blocked" &&
    sees_51 $1 "unmet +nothing arrives although the tunnel is up"
}
sees_51() {
  tutti_on $1 prerequisites |
    grep -Eq "^Peer [12] +Protocol 51 reachable +$2 +through the tunnel *$"
}
active() {
  peers_say a "Active as peer-b" && peers_say b "Active as peer-a" &&
    sees_51 a "met +it arrives" && sees_51 b "met +it arrives"
}
drop || fail "no drop on the bridge"
cluster_set a "$KEY" $A
cluster_set a "$KEY" $A $B
cluster_set b "$KEY" $A $B
for host in a b; do
  until_true 90 named $host || fail "$host: $(tutti_on $host peers; tutti_on $host tunnels)"
done
mark "named from the first attempt"
nft delete table bridge cut
until_true 90 active || fail "not lifted: $(tutti_on a peers; tutti_on b peers)"
tutti_on a tunnels | grep -q "^10.*: up," || fail "still named: $(tutti_on a tunnels)"
for host in a b; do
  tutti_on $host tunnels | grep -q "Last error: .*protocol 51 blocked.*, until" ||
    fail "$host forgot what was wrong: $(tutti_on $host tunnels)"
done
mark "active"
# The other time from a link that stands, which misses its heartbeats first.
drop || fail "no drop on the bridge"
for host in a b; do
  until_true 120 named $host || fail "$host: $(tutti_on $host peers; tutti_on $host tunnels)"
done
mark "named again"
nft delete table bridge cut
until_true 90 active || fail "not lifted: $(tutti_on a peers; tutti_on b peers)"
mark "active again"
