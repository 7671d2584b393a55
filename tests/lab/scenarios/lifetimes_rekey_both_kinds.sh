# With lifetimes of seconds, AH pairs and IKE SAs are rekeyed again and again by whoever comes
# first; datagrams flow all the while and none is lost.
hosts a b
LIFETIMES="10, 25"
for host in a b; do start_tunnels $host v4 "$KEY" a b; done
for pair in "a 10.0.0.2" "b 10.0.0.1"; do
  until_state 40 $pair Up || fail "no tunnel: $(tutti_on a tunnels; tutti_on b tunnels)"
done
stream_start a b 10.0.0.2
rekeyed() { rekeys a | awk '{ exit !($1 >= 1 && $2 >= 2) }'; }
until_true 80 rekeyed || fail "not rekeyed: $(rekeys a)"
stream_end
has_state a 10.0.0.2 Up || fail "down: $(tutti_on a tunnels)"
[ "$(ip -n a xfrm state | grep -c '^src 10.0.0.1 dst')" = 1 ] || fail "not one outbound SA"
