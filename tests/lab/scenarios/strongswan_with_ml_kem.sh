# X25519 with ML-KEM-768 against a strongSwan that has it (6.1): either side begins, either side rekeys
# the IKE SA (IKE_FOLLOWUP_KE) and the child. Needs the guest of a later Debian, to run it alone:
#
#   TUTTI_LAB_SUITE=forky ./build.sh lab -- lab/inside.sh strongswan_with_ml_kem
. "$LAB/strongswan.sh"
PLUGINS="$PLUGINS ml"
SWAN_PROPOSALS=aes256gcm16-prfsha256-x25519-ke1_mlkem768
hosts a b
charon b
capture wire
swan b --list-algs 2> /dev/null | grep -qi 'ML_KEM_768' || fail "this strongSwan has no ML-KEM"
PROPOSALS="\"$SWAN_PROPOSALS\""
rekeyed() { [ "$(swan b --list-sas | grep -c "$1")" = 1 ] && one_pair a 10.0.0.2; }
ike_spi() { swan b --list-sas --raw | grep -o 'initiator-spi=[0-9a-f]*'; }
for begins in ours theirs; do
  LIFETIMES=
  [ $begins = theirs ] && LIFETIMES="10, 15"
  start=none
  [ $begins = theirs ] && start=start
  desired a v4 "$KEY" a b
  if [ $begins = ours ]; then
    peers_json a v4 a b
    start_keyer a
    swan_peer b v4 "$KEY" a $start
    role a ike --desired /tmp/n/a/desired.toml
  else
    kill_role a ike
    swan b --terminate --ike peer --force > /dev/null 2>&1
    role a ike --desired /tmp/n/a/desired.toml
    swan_peer b v4 "$KEY" a $start
  fi
  until_true 60 one_pair a 10.0.0.2 || fail "$begins: not up: $(tutti_on a tunnels)"
  swan b --list-sas > "$OUT/sas-$begins"
  grep -q 'KE1_ML_KEM_768' "$OUT/sas-$begins" || fail "no ML-KEM: $(cat "$OUT/sas-$begins")"
  tcp_crosses a b 10.0.0.2 || fail "$begins: no TCP"
  mark "$begins begin"
  before=$(ike_spi)
  if [ $begins = ours ]; then
    swan b --rekey --ike peer > "$OUT/rekey" 2>&1 || fail "strongSwan does not rekey"
  fi
  until_true 90 sh -c "[ \"\$(STRONGSWAN_CONF=/tmp/n/b/strongswan.conf ip netns exec b swanctl \
    --list-sas --raw --uri unix:///tmp/n/b/vici | grep -o 'initiator-spi=[0-9a-f]*')\" != '$before' ]" ||
    fail "$begins: the IKE SA is not rekeyed: $(swan b --list-sas)"
  until_true 30 rekeyed KE1_ML_KEM_768 || fail "$begins: not one IKE SA: $(swan b --list-sas)"
  tcp_crosses b a 10.0.0.1 || fail "$begins: no TCP after the rekey"
  mark "$begins: rekeyed"
done
end_capture wire
only_ipsec wire
