# The same over IPv6, where neighbour discovery passes in clear, or no tunnel would ever begin.
FAMILY=v6
. "$LAB/three.sh"
