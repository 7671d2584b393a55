# Three whole nodes over IPv4; one is away for a while.
FAMILY=v4 AWAY=c
. "$LAB/three.sh"
