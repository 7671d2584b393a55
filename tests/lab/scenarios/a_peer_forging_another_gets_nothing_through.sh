# Three hosts, each listing the others, over IPv4 and over IPv6. b, an authenticated peer of a, sends
# segments under its own AH SA with c's address as their source, ICV correct: a answers none, by its
# rules and again by its policies alone, where the same from b's own address is answered. What was
# answered once is not taken when it comes again, and each SA has a window of 1,024 numbers for that.
hosts a b c
# begin FAMILY: all know each other, nothing of before is left.
begin() {
  A=$($1 a) B=$($1 b) C=$($1 c)
  for host in a b c; do
    firewall $host $1 a b c
    start_tunnels $host $1 "$KEY" a b c
  done
  for pair in "a $B" "a $C" "b $A" "c $A"; do
    until_state 60 $pair Up || fail "no tunnel: $(tutti_on a tunnels)"
  done
  ip -n b xfrm state > /tmp/n/b/states
  # 4372 is let in from c by c's own AH; a listens, so that a SYN from c would be answered.
  ip netns exec a nc -lk $A 443 > /dev/null &
  listening=$!
  ip netns exec a nc -lk $A 4372 > /dev/null &
  listening="$listening $!"
  until_true 10 listens $! 4372 || fail "nobody listens"
}
end() {
  kill $listening
  for host in a b c; do
    for role in ike keyer; do kill_role $host $role; done
    ip -n $host xfrm state flush
    ip -n $host xfrm policy flush
    rm -f /tmp/n/$host/run/*.sock
  done
}
counted() { on a awk -v what="$1" '$1 == what { print $2 }' /proc/net/xfrm_stat; }
mac=$(ip -n a -br link show eth0 | awk '{ print $3 }')
forge() { on b "$LAB/forge.py" /tmp/n/b/states "$mac" $B $A "$@" || fail "not sent"; }
ah='(ip proto 51 or ip6 proto 51)'
answered() { captured "$1" "src host $A and dst host $2 and $ah"; }
# round NAME PORT: what is forged comes first; when its own is answered, the others had their chance.
round() {
  capture "$1"
  forge $C "$2" 5
  forge $B "$2" 1
  until_true 30 answered "$1" $B || fail "$1: its own address was not answered"
  end_capture "$1"
  answered "$1" $C && fail "$1: a answered a segment that c never sent"
  [ "$(captured_count "$1" "src host $C and dst host $A and $ah")" = 5 ] || fail "$1: not all sent"
  mark "$1"
}
for family in v4 v6; do
  begin $family
  before=$(counted XfrmInStateMismatch)
  round rules-$family 4372
  [ "$(counted XfrmInStateMismatch)" = "$before" ] ||
    fail "$family: the rules let something through to the policies"
  on a nft flush ruleset
  round policies-$family 443
  [ "$(counted XfrmInStateMismatch)" = $((before + 5)) ] ||
    fail "$family: the kernel counts $(($(counted XfrmInStateMismatch) - before)) of 5"

  before=$(counted XfrmInStateSeqError)
  twice() { [ "$(counted XfrmInStateSeqError)" = $((before + 2)) ]; }
  forge $B 443 1
  forge $B 4372 1
  until_true 20 twice || fail "$family: of 2 replayed $(($(counted XfrmInStateSeqError) - before))"
  for host in a b c; do
    sas=$(ip -n $host xfrm state | grep -c 'proto ah')
    windows=$(ip -n $host xfrm state | grep -c 'replay_window 1024')
    [ "$sas" -ge 2 ] && [ "$windows" = "$sas" ] || fail "$host: $windows windows of 1,024 in $sas SAs"
  done
  end
done
