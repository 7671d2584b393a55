# The guest's clock jumps by years, forward and back, under a tunnel with strongSwan that carries
# datagrams; after each the AH pair is replaced. None is lost, and one IKE SA and one AH pair stand.
# ALONE: who judges by the clock would be lost beside it.
. "$LAB/strongswan.sh"
hosts a b
charon b
swan_peer b v4 "$KEY" a
start_tunnels a v4 "$KEY" a b
until_state 60 a 10.0.0.2 Up || fail "not up: $(tutti_on a tunnels)"
# The true time is that of the machine's start and what has passed since.
uptime() { cut -d. -f1 /proc/uptime; }
started=$(($(date +%s) - $(uptime)))
jump() { date -s "@$((started + $(uptime) + $1 * 31557600))" > /dev/null || fail "no such time"; }
trap 'jump 0' EXIT
one_each() {
  local said
  said=$(swan b --list-sas) &&
    [ "$(grep -c ESTABLISHED <<< "$said") $(grep -c INSTALLED <<< "$said")" = "1 1" ] &&
    [ "$(ip -n a xfrm state | grep -c '^src')" = 2 ]
}
stream_start a b 10.0.0.2
for years in 7 -5 0; do
  # The kernel asks the clock for a new SA's age once, a second after it was added; later its own.
  sleep 1.5
  before=$(outbound a 10.0.0.2)
  jump $years
  on a "$LAB/expire.py" 10.0.0.2 "${before#spi }" || fail "$years years: no expiry"
  until_true 30 renewed a 10.0.0.2 "$before" || fail "$years years: $(tutti_on a tunnels)"
  until_true 30 one_each || fail "$years years: $(swan b --list-sas; ip -n a xfrm state)"
  mark "$(date -u +%Y)"
done
stream_end
