# b sends segments under its own AH SA, then the same again, then others with a wrong ICV: a tells
# how many it received, how many were replays and of how many the integrity check failed, and goes
# on from there when the AH pair is replaced. Garbage on UDP 500 is counted by reason.
hosts a b
for host in a b; do start_tunnels $host v4 "$KEY" a b; done
for pair in "a 10.0.0.2" "b 10.0.0.1"; do
  until_state 60 $pair Up || fail "no tunnel: $(tutti_on a tunnels)"
done
# count FIELD: of a's counters of b, or of what a dropped.
count() {
  tutti_on a tunnels --json | awk -F '[:,]' -v field="\"$1\"" '$1 ~ field { print $2 + 0 }'
}
is() { [ "$(count "$1")" = "$2" ]; }
explain() { tutti_on a tunnels; on a cat /proc/net/xfrm_stat; }
is replays 0 && is integrity_failures 0 || fail "counted before anything was sent"
mac=$(ip -n a -br link show eth0 | awk '{ print $3 }')
ip -n b xfrm state > /tmp/n/b/states
# forge STATES PORT COUNT
forge() {
  on b "$LAB/forge.py" "$1" "$mac" 10.0.0.2 10.0.0.1 10.0.0.2 "$2" "$3" || fail "not sent"
}
before=$(count received_packets)
forge /tmp/n/b/states 443 5
arrived() { [ "$(count received_packets)" -ge $((before + 5)) ]; }
until_true 20 arrived || fail "not all five were received"
is replays 0 || fail "a first one counts as a replay"
forge /tmp/n/b/states 443 4
until_true 20 is replays 4 || fail "$(count replays) of 4 replays counted"
# Another key; the sequence numbers are new.
sed -E 's/(sha256\) 0x)[0-7]/\1f/; t; s/(sha256\) 0x)[89a-f]/\10/' /tmp/n/b/states > /tmp/n/b/wrong
forge /tmp/n/b/wrong 4372 3
until_true 20 is integrity_failures 3 || fail "$(count integrity_failures) of 3 wrong ICVs counted"
mark "counted"

received=$(count received_packets) bytes=$(count received_bytes) old=$(outbound a 10.0.0.2)
[ "$bytes" -gt 0 ] || fail "packets without bytes"
on a "$LAB/expire.py" 10.0.0.2 "${old#spi }" || fail "no expiry"
until_true 60 renewed a 10.0.0.2 "$old" || fail "not renewed"
# The old inbound SA goes a little later.
one_inbound() { [ "$(ip -n a xfrm state | grep -c '^src 10.0.0.2 dst')" = 1 ]; }
until_true 60 one_inbound || fail "the old pair stays"
is replays 4 && is integrity_failures 3 || fail "a rekey changed what was counted"
[ "$(count received_packets)" -ge "$received" ] || fail "a rekey lost what was received"
mark "kept over a rekey"

is header 0 || fail "counted before anything was sent"
on b python3 - << 'PYTHON'
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stream:
    for _ in range(7):
        stream.sendto(bytes(12), ("10.0.0.1", 500))
PYTHON
until_true 20 is header 7 || fail "$(count header) of 7 datagrams counted"
tutti_on a tunnels
tutti_on a tunnels | grep -q 'AH dropped:  4 replays, 3 packets with a failed' || fail "not in words"
