# IKEv2 and main mode. strongSwan asks whether we live and is answered; UDP 500 is cut and both miss
# each other and say so; healed, one IKE SA and one AH pair stand again. Our address goes under a
# standing tunnel and comes back: likewise. Then each deletes, the other follows, also when our address
# becomes another one.
. "$LAB/strongswan.sh"
. "$LAB/ike.sh"
hosts a b
CHARON_EXTRA="retransmit_tries = 2
  retransmit_timeout = 2"
charon b
start_keyer a
role a ike
one_each() {
  local said
  one_pair a 10.0.0.2 && said=$(swan b --list-sas) &&
    [ "$(grep -c ESTABLISHED <<< "$said") $(grep -c INSTALLED <<< "$said")" = "1 1" ] &&
    [ "$(ip -n a xfrm state | grep -c '^src')" = 2 ]
}
gone_there() { ! swan b --list-sas 2> /dev/null | grep -q ESTABLISHED; }
for version in 2 1; do
  proposal=aes256-sha256-ecp256
  SWAN_VERSION=$version SWAN_PROPOSALS=$proposal SWAN_AH=sha256-esn
  [ $version = 2 ] || SWAN_AH=sha256-ecp256-esn
  SWAN_CONNECTION="dpd_delay = 2s
  dpd_timeout = 8s"
  swan_peer b v4 "$KEY" a
  peers_json a v4 a b
  ike_configure a 10.0.0.1 "10.0.0.2:7402" $version $proposal
  until_true 60 one_pair a 10.0.0.2 || fail "v$version: not up: $(tutti_on a tunnels)"
  capture v$version
  # Informational exchanges: 37 in IKEv2, 5 in IKEv1.
  exchange=37
  [ $version = 2 ] || exchange=5
  asked() {
    [ "$(captured_count v$version "src host $1 and udp port 500 and udp[26] = $exchange")" -ge 3 ]
  }
  until_true 60 asked 10.0.0.2 || fail "v$version: strongSwan does not ask"
  until_true 20 asked 10.0.0.1 || fail "v$version: we do not answer"
  tcp_crosses a b 10.0.0.2 || fail "v$version: no TCP"
  end_capture v$version
  only_ipsec v$version
  one_pair a 10.0.0.2 || fail "v$version: down while asked: $(tutti_on a tunnels)"

  ip netns exec b nft -f - << X
table inet cut {
  chain input { type filter hook input priority -10; udp dport 500 drop; }
  chain output { type filter hook output priority -10; udp dport 500 drop; }
}
X
  until_true 90 gone_there || fail "v$version: strongSwan does not miss us: $(swan b --list-sas)"
  until_state 90 a 10.0.0.2 NoAnswer || fail "v$version: $(tutti_on a tunnels)"
  [ -z "$(outbound a 10.0.0.2)" ] || fail "v$version: an SA to a dead peer"
  on b nft delete table inet cut
  until_true 60 one_each || fail "v$version: not back: $(tutti_on a tunnels; swan b --list-sas)"
  until_true 30 tcp_crosses a b 10.0.0.2 8 || fail "v$version: no TCP after the cut"
  mark "v$version: cut and healed"

  ip -n a addr del 10.0.0.1/24 dev eth0
  until_true 90 gone_there || fail "v$version: our address is not missed: $(swan b --list-sas)"
  until_state 90 a 10.0.0.2 NoAnswer || fail "v$version: no address: $(tutti_on a tunnels)"
  ip -n a addr add 10.0.0.1/24 dev eth0
  until_true 60 one_each || fail "v$version: address: $(tutti_on a tunnels; swan b --list-sas)"
  until_true 30 tcp_crosses a b 10.0.0.2 8 || fail "v$version: no TCP by the address that came back"
  mark "v$version: our address went and came back"

  before=$(outbound a 10.0.0.2)
  swan b --terminate --ike peer > "$OUT/terminate" 2>&1 || fail "v$version: no terminate"
  until_true 60 renewed a 10.0.0.2 "$before" || fail "v$version: not renewed: $(tutti_on a tunnels)"
  # Another address of ours: strongSwan is told that all of the former one's are gone.
  [ $version = 1 ] || ip -n a addr add 10.0.0.7/24 dev eth0
  A=7
  peers_json a v4 a b
  ike_configure a 10.0.0.7 "10.0.0.2:7402" $version $proposal
  until_true 15 gone_there || fail "v$version: SAs of the former address: $(swan b --list-sas)"
  ! ip -n a xfrm state | grep -q '^src 10.0.0.1 dst 10.0.0.2' || fail "v$version: an SA of it here"
  A=1
  peers_json a v4 a b
  ike_configure a 10.0.0.1 "10.0.0.2:7402" $version $proposal
  until_true 60 one_pair a 10.0.0.2 || fail "v$version: not back: $(tutti_on a tunnels)"
  mark "v$version: another address and back"
  ike_standalone a
  until_true 15 gone_there || fail "v$version: our delete was not followed: $(swan b --list-sas)"
  [ -z "$(outbound a 10.0.0.2)" ] || fail "v$version: an SA after leaving"
  mark "v$version: deleted by either"
done
