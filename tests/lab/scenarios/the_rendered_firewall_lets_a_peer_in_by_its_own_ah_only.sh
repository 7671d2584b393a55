# The rules that `tutti host --render` writes, in the kernel, for IPv4 and IPv6: a peer reaches
# 4372 by its AH and nothing in clear; a stranger reaches HTTPS and never 4372.
hosts a b d

for family in v4 v6; do
  capture $family
  for host in a b; do
    firewall $host $family a b
    start_tunnels $host $family "$KEY" a b
  done
  until_state 40 a "$($family b)" Up || fail "no tunnel: $(tutti_on a tunnels)"
  until_state 40 b "$($family a)" Up || fail "no tunnel: $(tutti_on b tunnels)"
  reaches b a "$($family a)" 4372 || fail "$family: the peer did not reach 4372 by AH"
  reaches b a "$($family a)" 443 || fail "$family: the peer did not reach 443 by AH"
  end_capture $family
  only_ipsec $family
  reaches d a "$($family a)" 443 || fail "$family: a stranger did not reach 443"
  none_reaches d a "$($family a)" 4372 9000 || fail "$family: a stranger reached 4372 or 9000"
  for host in a b; do
    kill_role $host ike KILL
    kill_role $host keyer KILL
    ip -n $host xfrm state flush
    ip -n $host xfrm policy flush
  done
  none_reaches b a "$($family a)" 443 4372 || fail "$family: the peer reached us in clear"
  # Not by the output rules of the peer alone: with those gone, a still drops.
  on b nft flush ruleset
  none_reaches b a "$($family a)" 443 || fail "$family: a took clear packets from its peer"
  on b ping -c 1 -W 10 "$($family a)" > /dev/null || fail "$family: no echo"
  rm -f /tmp/n/?/run/*.sock
done
