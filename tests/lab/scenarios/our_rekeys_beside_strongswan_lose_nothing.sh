# We alone replace the AH pair and the IKE or ISAKMP SA with strongSwan, again and again, while
# datagrams flow: none is lost, with IKEv2 nor with quick mode, where charon receives on a pair only after
# our third message.
. "$LAB/strongswan.sh"
hosts a b
SWAN_CONNECTION="reauth_time = 0
  rekey_time = 0"
SWAN_CHILD="rekey_time = 0
    replay_window = 1024"
LIFETIMES="10, 25"
charon b
# rekeyed IKE CHILD: at least that often.
rekeyed() {
  set -- $1 $2 $(rekeys a)
  [ "$3" -ge "$1" ] && [ "$4" -ge "$2" ]
}
capture wire
for version in 2 1; do
  times='1 4'
  IKE=v$version SWAN_VERSION=$version
  if [ $version = 1 ]; then
    times='3 10'
    SWAN_PROPOSALS=aes256-sha256-ecp256 SWAN_AH=sha256-ecp256-esn-noesn
    PROPOSALS="\"$SWAN_PROPOSALS\""
  fi
  swan_peer b v4 "$KEY" a
  start_tunnels a v4 "$KEY" a b
  until_true 60 one_pair a 10.0.0.2 || fail "v$version: not up: $(tutti_on a tunnels)"
  stream_start a b 10.0.0.2
  until_true 130 rekeyed $times || fail "v$version: rekeyed $(rekeys a)"
  states wire
  stream_end
  mark "v$version: $(tail -1 "$OUT/stream-sent") datagrams, rekeys $(rekeys a)"
  kill_role a ike
  kill_role a keyer
  swan b --terminate --ike peer --force > /dev/null 2>&1
  for host in a b; do
    ip -n $host xfrm state flush
    ip -n $host xfrm policy flush
  done
  rm -f /tmp/n/a/run/*.sock
done
end_capture wire
only_ipsec wire
