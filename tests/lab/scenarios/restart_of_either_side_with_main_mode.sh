# Two of our daemons with main mode: either stops or is killed and comes back.
IKE=v1
. "$LAB/restart.sh"
