# A whole node that leaves its cluster says so: the peer has no SA left long before it would miss
# signs of life (20 s), with IKEv2 and with main mode. For an address that changes see
# `dead_peers_and_deletes_beside_strongswan`.
hosts a b
A=10.0.0.1 B=10.0.0.2
for host in a b; do start_node $host v4; done
KEY=$(tutti_on a cluster generate-key) || fail "no key"
# A larval state (SPI 0) is only what a packet that still wants to go is waiting for.
none_left() { ! ip -n b xfrm state | grep "proto ah spi" | grep -qv "spi 0x00000000"; }
for profile in ikev2 main-mode; do
  CLUSTER=(--profile $profile)
  cluster_set a "$KEY" $A
  cluster_set a "$KEY" $A $B
  cluster_set b "$KEY" $A $B
  until_true 90 peers_say b "Active as peer-a" || fail "$profile: $(tutti_on b peers)"
  mark "active with $profile"
  tutti_on a cluster clear || fail "clear"
  left=$SECONDS
  until_true 10 none_left || fail "$profile: SAs to one that left: $(ip -n b xfrm state)"
  tutti_on b cluster clear || fail "clear"
  mark "gone after $((SECONDS - left)) s"
done
