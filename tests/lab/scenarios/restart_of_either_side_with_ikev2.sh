# Two of our daemons with IKEv2: either stops or is killed and comes back.
IKE=v2 FAMILY=v4
. "$LAB/restart.sh"
