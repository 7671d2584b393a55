# strongSwan stops with a word and dies without one; so do we. IKEv2 and main mode, over IPv4 and IPv6:
# each time one AH pair stands again and TCP flows.
. "$LAB/strongswan.sh"
hosts a b
capture wire
again() {
  until_true 90 renewed a $B "$1" || fail "$2: $(tutti_on a tunnels; ip -n a xfrm state)"
  until_true 60 alone || fail "$2: several stay: $(swan b --list-sas)"
  one_pair a $B || fail "$2: not one pair: $(tutti_on a tunnels)"
  until_true 30 tcp_crosses a b $B 8 || fail "$2: no TCP"
  until_true 30 tcp_crosses b a $own 8 || fail "$2: no TCP back"
  mark "$2"
}
for round in 'v4 2' 'v6 2' 'v4 1' 'v6 1'; do
  family=${round% *} version=${round#* } own=$(${round% *} a) B=$(${round% *} b)
  IKE=v$version SWAN_VERSION=$version
  if [ $version = 1 ]; then
    SWAN_PROPOSALS=aes256-sha256-ecp256 SWAN_AH=sha256-ecp256-esn-noesn
    PROPOSALS="\"$SWAN_PROPOSALS\""
  fi
  charon_anew $family start
  start_tunnels a $family "$KEY" a b
  until_true 60 one_pair a $B || fail "$family, v$version: not up: $(tutti_on a tunnels)"
  until_true 60 alone || fail "$family, v$version: several stay: $(swan b --list-sas)"
  for signal in TERM KILL; do
    before=$(outbound a $B)
    kill_role b charon $signal
    [ $signal = TERM ] || forget b
    charon_anew $family start
    again "$before" "$family, v$version: strongSwan, $signal"
  done
  for signal in TERM KILL; do
    before=$(outbound a $B)
    kill_role a ike $signal
    role a ike --desired /tmp/n/a/desired.toml
    again "$before" "$family, v$version: ours, $signal"
  done
  kill_role a ike KILL
  kill_role a keyer KILL
  kill_role b charon TERM
  forget a b
  rm -f /tmp/n/a/run/*.sock
done
end_capture wire
# While strongSwan is away its kernel has no policies: what ours sends is judged.
only_ipsec wire '(src host 10.0.0.1 or src host fd00::1)'
