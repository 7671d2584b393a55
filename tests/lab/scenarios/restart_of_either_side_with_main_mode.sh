# Two of our daemons with main mode, over IPv6: either stops or is killed and comes back.
IKE=v1 FAMILY=v6
. "$LAB/restart.sh"
