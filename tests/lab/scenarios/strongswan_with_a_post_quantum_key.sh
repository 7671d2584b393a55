# A post-quantum key (RFC 8784) that both demand: either side begins, either side rekeys the IKE SA
# and the child; then all that may stand between the two, as we say it, and never a tunnel.
. "$LAB/strongswan.sh"
hosts a b
ppk_required
charon b
capture wire
ike_spi() { swan b --list-sas --raw | grep -o 'initiator-spi=[0-9a-f]*'; }
for begins in ours theirs; do
  # Who answers is rekeyed by strongSwan, who is called rekeys by itself.
  LIFETIMES=
  [ $begins = ours ] || LIFETIMES="15, 30"
  OUR_PPK=$PPK begin_anew $begins v4
  swan b --list-sas --raw > "$OUT/sas-$begins"
  grep -q 'ppk=yes' "$OUT/sas-$begins" || fail "$begins: no post-quantum key: $(cat "$OUT/sas-$begins")"
  before=$(ike_spi)
  if [ $begins = ours ]; then
    swan b --rekey --ike peer > "$OUT/rekey" 2>&1 || fail "strongSwan does not rekey"
    swan b --rekey --child ah > "$OUT/rekey-child" 2>&1 || fail "the CHILD SA is not rekeyed"
  fi
  until_true 90 sh -c "[ \"\$(STRONGSWAN_CONF=/tmp/n/b/strongswan.conf ip netns exec b swanctl \
    --list-sas --raw --uri unix:///tmp/n/b/vici | grep -o 'initiator-spi=[0-9a-f]*')\" != '$before' ]" ||
    fail "$begins: the IKE SA is not rekeyed: $(swan b --list-sas)"
  until_true 30 one_pair a 10.0.0.2 || fail "$begins: not one pair: $(swan b --list-sas)"
  tcp_crosses b a "$(v4 a)" || fail "$begins: no TCP after the rekey"
  mark "$begins: rekeyed"
done
grep -c "using PPK for PPK_ID 'lab'" "$OUT/b-charon.log" | grep -qx 2 ||
  fail "strongSwan did not take the key: $(grep -i ppk "$OUT/b-charon.log")"

# says WORDS: with the settings as they are and both sides beginning, ours says why there is no tunnel.
said() {
  swan b --initiate --child ah --timeout 4 > /dev/null 2>&1
  tutti_on a tunnels | grep -qF "post-quantum key: $1"
}
says() {
  kill_role a ike
  swan b --terminate --ike peer --force > /dev/null 2>&1
  swan_peer b v4 "$KEY" a
  desired a v4 "$KEY" a b
  rm -f /tmp/n/a/run/ike.sock
  role a ike --desired /tmp/n/a/desired.toml
  until_true 20 test -S /tmp/n/a/run/ike.sock || fail "ike did not start"
  until_true 60 said "$1" || fail "not '$1': $(tutti_on a tunnels)"
  [ -z "$(outbound a 10.0.0.2)" ] || fail "$1: there is an SA"
  mark "told: $1"
}
LIFETIMES=
OUR_PPK_ID=office OUR_PPK=$PPK says "the peer's has another identity"
OUR_PPK=1$PPK says "it or the cluster key differs"
OUR_PPK= says "the peer requires one"
SWAN_CONNECTION= SWAN_SECRETS=
OUR_PPK=$PPK says "the peer uses none"
end_capture wire
only_ipsec wire
! grep -lF "$PPK" "$OUT"/*.log || fail "the post-quantum key is in a log"
