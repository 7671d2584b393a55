# The rules that `tutti host --render` writes, in the kernel, for IPv4 and IPv6: a peer reaches
# 4372 by its AH and nothing in clear; a stranger reaches HTTPS and never 4372.
hosts a b d

# render HOST V4|V6 HOST...: the appliance's own rendering, loaded.
render() {
  local host=$1 state=/tmp/n/$1/state
  peers_json "$@"
  mkdir -p "$state/host"
  cp "/tmp/n/$host/run/peers.json" "$state/host/peers.json"
  printf 'protocol = "both"\nhost_name = "%s"\nipv4 = "dhcp"\nipv6 = "dhcp"\n' "$host" \
    > "$state/host/settings.toml"
  tutti_on "$host" host --render --root "/tmp/n/$host/root" || fail "render on $host"
  on "$host" nft -f "/tmp/n/$host/root/etc/nftables.conf" || fail "nft on $host"
}

# reaches FROM ADDRESS PORT [SECONDS]: a line sent there arrives at a.
reaches() {
  local line="hello-$RANDOM-$RANDOM" server
  ip netns exec a timeout "${4:-20}" nc -l "$2" "$3" > /tmp/n/a/received &
  server=$!
  until_true 10 sh -c "ip netns exec a ss -Htln | grep -q :$3"
  echo "$line" | on "$1" timeout "${4:-20}" nc -N -w "${4:-20}" "$2" "$3"
  kill "$server" 2> /dev/null
  wait "$server" 2> /dev/null
  grep -q "$line" /tmp/n/a/received
}

for family in v4 v6; do
  capture $family
  for host in a b; do
    render $host $family a b
    start_tunnels $host $family "$KEY" a b
  done
  until_true 40 has_state a "$($family b)" Up || fail "no tunnel: $(tutti_on a tunnels)"
  until_true 40 has_state b "$($family a)" Up || fail "no tunnel: $(tutti_on b tunnels)"
  reaches b "$($family a)" 4372 || fail "$family: the peer did not reach 4372 by AH"
  reaches b "$($family a)" 443 || fail "$family: the peer did not reach 443 by AH"
  end_capture $family
  only_ipsec $family
  reaches d "$($family a)" 443 || fail "$family: a stranger did not reach 443"
  reaches d "$($family a)" 4372 3 && fail "$family: a stranger reached 4372"
  reaches d "$($family a)" 9000 3 && fail "$family: a stranger reached 9000"
  for host in a b; do
    kill_role $host ike KILL
    kill_role $host keyer KILL
    ip -n $host xfrm state flush
    ip -n $host xfrm policy flush
  done
  reaches b "$($family a)" 443 3 && fail "$family: the peer reached 443 in clear"
  reaches b "$($family a)" 4372 3 && fail "$family: the peer reached 4372 in clear"
  # Not by the output rules of the peer alone: with those gone, a still drops.
  on b nft flush ruleset
  reaches b "$($family a)" 443 3 && fail "$family: a took clear packets from its peer"
  on b ping -c 1 -W 10 "$($family a)" > /dev/null || fail "$family: no echo"
  rm -f /tmp/n/?/run/*.sock
done
