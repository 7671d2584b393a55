# Three hosts, each listing the others. b, an authenticated peer of a, sends segments under its own
# AH SA with c's address as their source, ICV correct: a answers none, by its rules and again by its
# policies alone, where the same from b's own address is answered. What was answered once is not
# taken when it comes again, and each SA has a window of 1,024 numbers for that.
hosts a b c
for host in a b c; do
  firewall $host v4 a b c
  start_tunnels $host v4 "$KEY" a b c
done
for pair in "a 10.0.0.2" "a 10.0.0.3" "b 10.0.0.1" "c 10.0.0.1"; do
  until_state 60 $pair Up || fail "no tunnel: $(tutti_on a tunnels)"
done
# 4372 is let in from c by c's own AH; a listens, so that a SYN from c would be answered.
ip netns exec a nc -lk 10.0.0.1 443 > /dev/null &
ip netns exec a nc -lk 10.0.0.1 4372 > /dev/null &
until_true 10 listens $! 4372 || fail "nobody listens"
mismatches() { on a awk '$1 == "XfrmInStateMismatch" { print $2 }' /proc/net/xfrm_stat; }
mac=$(ip -n a -br link show eth0 | awk '{ print $3 }')
ip -n b xfrm state > /tmp/n/b/states
forge() { on b "$LAB/forge.py" /tmp/n/b/states "$mac" 10.0.0.2 10.0.0.1 "$@" || fail "not sent"; }
answered() { captured "$1" "src host 10.0.0.1 and dst host $2 and ip proto 51"; }
# round NAME PORT: what is forged comes first; when its own is answered, the others had their chance.
round() {
  capture "$1"
  forge 10.0.0.3 "$2" 5
  forge 10.0.0.2 "$2" 1
  until_true 30 answered "$1" 10.0.0.2 || fail "$1: its own address was not answered"
  end_capture "$1"
  answered "$1" 10.0.0.3 && fail "$1: a answered a segment that c never sent"
  [ "$(captured_count "$1" 'src host 10.0.0.3 and ip proto 51')" = 5 ] || fail "$1: not all sent"
}
before=$(mismatches)
round rules 4372
[ "$(mismatches)" = "$before" ] || fail "the rules let something through to the policies"
on a nft flush ruleset
round policies 443
[ "$(mismatches)" = $((before + 5)) ] || fail "the kernel counts $(($(mismatches) - before)) of 5"

replays() { on a awk '$1 == "XfrmInStateSeqError" { print $2 }' /proc/net/xfrm_stat; }
before=$(replays)
twice() { [ "$(replays)" = $((before + 2)) ]; }
forge 10.0.0.2 443 1
forge 10.0.0.2 4372 1
until_true 20 twice || fail "the kernel counts $(($(replays) - before)) of 2 replayed"
for host in a b c; do
  sas=$(ip -n $host xfrm state | grep -c 'proto ah')
  windows=$(ip -n $host xfrm state | grep -c 'replay_window 1024')
  [ "$sas" -ge 2 ] && [ "$windows" = "$sas" ] || fail "$host: $windows windows of 1,024 in $sas SAs"
done
