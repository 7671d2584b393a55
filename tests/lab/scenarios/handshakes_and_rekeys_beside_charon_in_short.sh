# The short form of `./build.sh bench ike`: its figures are printed, and of them only what no clock
# decides can fail: every handshake happens on both sides, and rekeys under load lose no packet.
SHORT=1
. "$LAB/../bench/guest.sh"
