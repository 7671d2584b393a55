# An AH pair with strongSwan whose 64-bit sequence numbers pass 2^32: datagrams cross in both directions
# and none is lost; the ICVs of the capture hold only with the high half. With 32-bit numbers the last
# one is used and none comes twice: then nothing passes, until another pair takes that one's place.
. "$LAB/strongswan.sh"
hosts a b
charon b
SWAN_CHILD="replay_window = 1024"
begin() {
  swan_peer b v4 "$KEY" a
  role a ike --desired /tmp/n/a/desired.toml
  until_true 60 one_pair a 10.0.0.2 || fail "not up: $(tutti_on a tunnels)"
  swan b --list-sas | grep -q "TRANSPORT, AH:$1\$" || fail "not $1: $(swan b --list-sas)"
  before=$(outbound a 10.0.0.2)
}
# at NUMBER: all SAs have sent and received that many.
at() {
  local from to way spi
  for way in "a b" "b a"; do
    from=${way% *} to=${way#* }
    spi=$(outbound $from "$(v4 $to)")
    on $to "$LAB/sequence.py" "$(v4 $to)" "${spi#spi }" "$1" in || fail "$to cannot be moved"
    on $from "$LAB/sequence.py" "$(v4 $to)" "${spi#spi }" "$1" out || fail "$from cannot be moved"
  done
}
stays() { [ "$(outbound a 10.0.0.2)" = "$before" ] || fail "another pair took its place: $1"; }
# of HOST COMPARISON: how many AH packets it sent with such a number.
of() { captured_count "$CAPTURE" "src host $(v4 $1) and ip proto 51 and ip[28:4] $2"; }
beyond() { [ "$(of $1 '< 10000')" -ge 100 ]; }

peers_json a v4 a b
desired a v4 "$KEY" a b
start_keyer a
SWAN_AH=sha256-esn
begin HMAC_SHA2_256_128/ESN
capture wide
at 0xffffffa0
for way in "a b" "b a"; do
  stream_start $way "$(v4 ${way#* })"
  until_true 30 beyond ${way% *} || fail "$way: not beyond 2^32: $(ip -n a xfrm state)"
  stream_end
done
stays "64 bits"
for host in a b; do
  [ "$(of $host '> 0xffffff00')" -gt 50 ] || fail "$host was not moved"
  for half in oseq-hi seq-hi; do
    [ "$(ip -n $host xfrm state | grep -c "\b$half 0x1\b")" = 1 ] || fail "$(ip -n $host xfrm state)"
  done
done
states wide
end_capture wide
only_ipsec wide
mark "64 bits: none lost"

kill_role a ike
SWAN_AH=sha256-noesn
begin HMAC_SHA2_256_128
tcp_crosses a b 10.0.0.2 || fail "no TCP with 32 bits"
capture narrow
at 0xfffffffe
reaches a b 10.0.0.2 9000 3 && fail "TCP passed on numbers that are used up"
stays "32 bits"
for host in a b; do
  [ "$(of $host '= 0xffffffff') $(of $host '!= 0xffffffff')" = "1 0" ] ||
    fail "$host: $(tcpdump -nvr "$OUT/narrow.pcap" 'ip proto 51' 2> /dev/null)"
done
states narrow
on a "$LAB/expire.py" 10.0.0.2 "${before#spi }" || fail "no expiry"
until_true 30 renewed a 10.0.0.2 "$before" || fail "not replaced: $(tutti_on a tunnels)"
until_true 30 tcp_crosses a b 10.0.0.2 8 || fail "no TCP on the pair that took its place"
end_capture narrow
mark "32 bits: none came twice"
