# Datagrams flow while `ike` of either side is killed and begins again, with either version: its AH
# pair carries on until both receive on the new one.
hosts a b
for IKE in v2 v1; do
  PROPOSALS='"aes256-sha256-ecp256"'
  for host in a b; do start_tunnels $host v4 "$KEY" a b; done
  until_true 60 one_pair a 10.0.0.2 || fail "$IKE: not up: $(tutti_on a tunnels)"
  until_true 60 one_pair b 10.0.0.1 || fail "$IKE: not up: $(tutti_on b tunnels)"
  stream_start a b 10.0.0.2
  for host in a b; do
    before=$(outbound a 10.0.0.2)
    kill_role $host ike KILL
    role $host ike --desired /tmp/n/$host/desired.toml
    until_true 60 renewed a 10.0.0.2 "$before" || fail "$IKE $host: $(tutti_on a tunnels)"
    until_true 60 one_pair b 10.0.0.1 || fail "$IKE $host: $(tutti_on b tunnels)"
    # The old pair is gone by then, too.
    until_true 60 sh -c "! ip -n a xfrm state | grep -q '$before'" || fail "$IKE: $before stays"
  done
  stream_end
  mark "$IKE: $(tail -1 "$OUT/stream-sent") datagrams"
  for host in a b; do
    for role in ike keyer; do kill_role $host $role KILL; done
    ip -n $host xfrm state flush
    ip -n $host xfrm policy flush
    rm -f /tmp/n/$host/run/*.sock
  done
done
