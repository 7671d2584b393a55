# Sourced by scenarios inside the lab guest: hosts as network namespaces on one bridge, our nodes
# and strongSwan in them, and waits that end on the event.
#
# Hosts are named a, b, c ... with 10.0.0.1, .2, .3 ... and fd00::1, ::2, ::3 ... on eth0. A node's
# directories are /tmp/n/HOST/{run,state}. Needs: ah4, ah6 and xfrm_user (the guest loads them).

set -u
KEY=labpsk-0123456789abcdef0123456789abcdef
: "${OUT:=/out}"
mkdir -p "$OUT"

# mark WORDS: how far the scenario has come, with its seconds.
mark() { echo "[$SECONDS s] $*"; }

# fail WORDS: ends the scenario; what the hosts hold comes before the words.
fail() {
  kernel_sas
  ! type explain > /dev/null 2>&1 || explain
  echo "    $*"
  exit 1
}

# kernel_sas: the SAs of all hosts, one a line, without keys: addresses, SPI, packets, time added.
kernel_sas() {
  local host
  for host in $(ip netns list | cut -d' ' -f1); do
    ip -n "$host" -s xfrm state | awk -v host="$host" '
      /^src/ { way = $2 " -> " $4 }
      / spi / { spi = $4 }
      /\(bytes\), / { packets = $2 }
      / add / && /use/ { print "    " host ": " way, spi, packets, "added " $3 }'
  done
}

# hosts NAME...: a bridge, and a namespace with one interface for each.
hosts() {
  local host number=1
  ip link add br0 type bridge stp_state 0 forward_delay 0
  ip link set br0 up
  for host in "$@"; do
    ip netns add "$host"
    ip link add "v$host" type veth peer name eth0 netns "$host"
    ip link set "v$host" master br0 up
    ip -n "$host" link set lo up
    # As systemd has it: anybody may ask for echoes.
    ip netns exec "$host" sysctl -qw net.ipv4.ping_group_range="0 2147483647"
    ip -n "$host" addr add "10.0.0.$number/24" dev eth0
    ip -n "$host" addr add "fd00::$number/64" dev eth0 nodad
    ip -n "$host" link set eth0 up
    mkdir -p "/tmp/n/$host/run" "/tmp/n/$host/state"
    number=$((number + 1))
  done
}

# on HOST COMMAND...: in its network, with the mounts of the scenario.
on() { local host=$1; shift; nsenter --net="/run/netns/$host" "$@"; }
number() { case $1 in a) echo 1 ;; b) echo 2 ;; c) echo 3 ;; d) echo 4 ;; *) echo 9 ;; esac; }
v4() { echo "10.0.0.$(number "$1")"; }
v6() { echo "fd00::$(number "$1")"; }

# until_true SECONDS COMMAND...: tries until it succeeds, more and more seldom, since all that asks
# takes processors from what it waits for; four times as long where much else runs.
until_true() {
  local end=$((SECONDS + 4 * $1)) pause=1
  shift
  until "$@" > /dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.$pause
    [ $pause = 8 ] || pause=$((2 * pause))
  done
}

# peers_json HOST V4|V6 HOST...: the rendered peer list of the first, with the others as peers.
peers_json() {
  local host=$1 address=$2 other list=
  shift 2
  for other in "$@"; do
    [ "$other" = "$host" ] && continue
    list="$list${list:+,}{\"address\":\"$($address "$other")\",\"reqid\":$((7400 + $(number "$other")))}"
  done
  echo "{\"local\":\"$($address "$host")\",\"peers\":[$list]}" > "/tmp/n/$host/run/peers.json"
}

# role HOST ROLE [ARGUMENT...]: starts one role; its log is $OUT/HOST-ROLE.log, its pid kept. What
# keys `ike` makes is in $OUT/isakmp.keys, for dissect.sh.
role() {
  local host=$1 role=$2
  shift 2
  # Another program than the one that is tested, or around it, for one host.
  local program=(env tutti)
  [ -z "${PROGRAM:-}" ] || program=(env $PROGRAM)
  [ "$role" != ike ] || [ -n "${NO_KEY_LOG:-}" ] || set -- --key-log "$OUT/isakmp.keys" "$@"
  ip netns exec "$host" "${program[@]}" --run "/tmp/n/$host/run" --state "/tmp/n/$host/state" \
    "$role" "$@" >> "$OUT/$host-$role.log" 2>&1 &
  echo $! > "/tmp/n/$host/$role.pid"
}
role_pid() { cat "/tmp/n/$1/$2.pid"; }
# tutti_on HOST ARGUMENT...: speaks to its roles, whose sockets are files.
tutti_on() { local host=$1; shift; tutti --run "/tmp/n/$host/run" --state "/tmp/n/$host/state" "$@"; }

# kill_role HOST ROLE [SIGNAL]
kill_role() {
  kill "-${3:-TERM}" "$(role_pid "$1" "$2")"
  wait "$(role_pid "$1" "$2")" 2> /dev/null
}

start_keyer() {
  # That of one that was killed would pass for a listening one.
  rm -f "/tmp/n/$1/run/keyer.sock"
  role "$1" keyer
  until_true 20 test -S "/tmp/n/$1/run/keyer.sock" || fail "keyer on $1 did not start"
}

# desired HOST V4|V6 KEY HOST...: what serve would tell ike, as a file.
desired() {
  local host=$1 address=$2 key=$3 other
  shift 3
  {
    echo "local = \"$($address "$host")\""
    echo "key = \"$key\""
    echo "certificate = \"$(printf "%064x" "$(number "$host")")\""
    [ -z "${LIFETIMES:-}" ] || echo "lifetimes = [$LIFETIMES]"
    [ -z "${PROPOSALS:-}" ] || echo "proposals = [$PROPOSALS]"
    [ -z "${IKE:-}" ] || echo "ike = \"$IKE\""
    [ -z "${PFS:-}" ] || echo "pfs = $PFS"
    [ -z "${AH_PROPOSALS:-}" ] || echo "ah_proposals = [$AH_PROPOSALS]"
    for other in "$@"; do
      [ "$other" = "$host" ] && continue
      printf '[[peer]]\nfield = %d\naddress = "%s"\n' "$(number "$other")" "$($address "$other")"
    done
    [ -z "${OUR_PPK:-}" ] || printf '[ppk]\nid = "%s"\nsecret = "%s"\n' "${OUR_PPK_ID:-lab}" "$OUR_PPK"
  } > "/tmp/n/$host/desired.toml"
  chmod 600 "/tmp/n/$host/desired.toml"
}

# start_tunnels HOST V4|V6 KEY HOST...: keyer and ike without serve.
start_tunnels() {
  peers_json "$1" "$2" "${@:4}"
  desired "$@"
  start_keyer "$1"
  role "$1" ike --desired "/tmp/n/$1/desired.toml"
}

# one_pair HOST ADDRESS: the tunnel is up, with one outbound SA. renewed HOST ADDRESS SPI: and it is
# another one than that. outbound HOST ADDRESS: its SPI.
outbound() { ip -n "$1" xfrm state | grep -A1 "^src .* dst $2\$" | grep -o 'spi 0x[0-9a-f]*'; }
one_pair() { [ "$(outbound "$1" "$2" | wc -l)" = 1 ] && has_state "$1" "$2" Up; }
renewed() { [ "$(outbound "$1" "$2")" != "$3" ] && one_pair "$1" "$2"; }

# tunnel_state HOST ADDRESS: the state word that `tutti tunnels` prints for that peer.
tunnel_state() {
  tutti_on "$1" tunnels --json | awk -F '"' -v peer="$2" '
    $2 == "address" { found = $4 == peer }
    found && $2 == "state" { if (NF < 5) getline; print NF < 5 ? $2 : $4; exit }'
}
# rekeys HOST: how often ISAKMP or IKE SA and AH pair of its one tunnel were replaced.
rekeys() { tutti_on "$1" tunnels --json | awk '/"rekeys"/ { getline ike; getline child; print ike + 0, child + 0 }'; }
# until_state SECONDS HOST ADDRESS STATE: that becomes its state; told by `ike` itself.
until_state() {
  timeout $((4 * $1)) python3 "$LAB/await.py" "/tmp/n/$2/run/ike.sock" "$3" "$4"
}
has_state() { [ "$(tunnel_state "$1" "$2")" = "$3" ]; }

# capture NAME: everything on the bridge, into $OUT/NAME.pcap; tcp_crosses keeps the SAs with it.
capture() {
  CAPTURE=$1
  tcpdump -i br0 -U --immediate-mode -s 0 -w "$OUT/$1.pcap" > /dev/null 2> "$OUT/$1.tcpdump" &
  echo $! > /tmp/n/capture.pid
  until_true 20 grep -q listening "$OUT/$1.tcpdump" || fail "tcpdump did not start"
}
# end_capture NAME: ends when a last frame, an ARP request for nobody, is in the file: then so is
# everything before it.
end_capture() {
  local host
  host=$(ip netns list | head -1 | cut -d' ' -f1)
  on "$host" ping -c 1 -W 1 10.0.0.254 > /dev/null 2>&1
  until_true 30 captured "$1" "arp host 10.0.0.254" || fail "tcpdump lags behind the wire"
  kill -INT "$(cat /tmp/n/capture.pid)" 2> /dev/null
  wait "$(cat /tmp/n/capture.pid)" 2> /dev/null
}

# captured NAME FILTER: the capture holds such a packet.
captured() { tcpdump -nr "$OUT/$1.pcap" "$2" 2> /dev/null | grep -q .; }

captured_count() { tcpdump -nr "$OUT/$1.pcap" "$2" 2> /dev/null | wc -l; }

# only_ipsec NAME [FILTER]: fails if the capture holds anything but UDP 500, AH, ARP, ICMP, ICMPv6 and
# the kernel's own multicast reports, or no AH; of what the filter names, if there is one.
only_ipsec() {
  local clear ah
  # Multicast reports: IGMP, and on IPv6 what follows a hop-by-hop header. The kernel sends them
  # after a random delay, so few captures hold one.
  clear=$(tcpdump -nr "$OUT/$1.pcap" 'not (arp or ip proto 51 or ip6 proto 51 or
    (udp and src port 500 and dst port 500) or icmp or icmp6 or igmp or ip6 proto 0)'"${2:+ and $2}" \
    2> /dev/null)
  [ -z "$clear" ] || { echo "$clear" | head -5; fail "packets in clear on the wire"; }
  ah=$(tcpdump -nr "$OUT/$1.pcap" 'ip proto 51 or ip6 proto 51' 2> /dev/null | wc -l)
  [ "$ah" -gt 0 ] || fail "no AH on the wire"
}

# firewall HOST V4|V6 HOST...: the appliance's rules for these peers as `host` renders them, loaded.
firewall() {
  local host=$1 state=/tmp/n/$1/state
  peers_json "$@"
  mkdir -p "$state/host"
  cp "/tmp/n/$host/run/peers.json" "$state/host/peers.json"
  printf 'protocol = "both"\nhost_name = "%s"\nipv4 = "dhcp"\nipv6 = "dhcp"\n' "$host" \
    > "$state/host/settings.toml"
  on "$host" tutti --run "/tmp/n/$host/run" --state "$state" host --render --root "/tmp/n/$host/root" || fail "render on $host"
  on "$host" nft -f "/tmp/n/$host/root/etc/nftables.conf" || fail "nft refused the rules of $host"
}

# forget HOST...: their kernels hold no SA and no policy any more.
forget() {
  local host
  for host in "$@"; do
    ip -n "$host" xfrm state flush
    ip -n "$host" xfrm policy flush
  done
}

# listens PID PORT: somebody does in the network of that process.
listens() { cat "/proc/$1/net/tcp" "/proc/$1/net/tcp6" | grep -q "$(printf ':%04X .*:0000 0A ' "$2")"; }

# reaches FROM TO ADDRESS PORT [SECONDS]: a line sent there arrives. Ends its shell with 3 where that
# could not be tried.
reaches() {
  local line="hello-$RANDOM-$RANDOM" server
  nsenter --net="/run/netns/$2" nc -l "$3" "$4" > "/tmp/n/$2/received-$4" &
  server=$!
  until_true 60 listens $server "$4" || (fail "nobody listens on $2") || exit 3
  echo "$line" | on "$1" timeout "${5:-20}" nc -N -w "${5:-20}" "$3" "$4"
  kill "$server" 2> /dev/null
  wait "$server" 2> /dev/null
  grep -q "$line" "/tmp/n/$2/received-$4"
}
# never_came PID...: all of these were tried, and nothing arrived.
never_came() {
  local try code
  for try in "$@"; do
    code=0
    wait "$try" || code=$?
    [ "$code" = 1 ] || return 1
  done
}
# none_reaches FROM TO ADDRESS PORT...: nothing arrives on any of these ports; all at once.
none_reaches() {
  local from=$1 to=$2 address=$3 port tries=()
  shift 3
  for port in "$@"; do
    reaches "$from" "$to" "$address" "$port" 3 &
    tries+=($!)
  done
  never_came "${tries[@]}"
}
# tcp_crosses FROM TO ADDRESS [SECONDS]: the same, on a port that only hosts without rules take; under
# which SAs is kept for the ICVs of the capture, if there is one.
tcp_crosses() {
  reaches "$1" "$2" "$3" 9000 "${4:-20}" || return 1
  [ -z "${CAPTURE:-}" ] || states "$CAPTURE"
}

# states NAME: adds the kernel's SAs of all hosts, with keys: dissect.sh verifies the capture's ICVs.
states() {
  local host
  for host in $(ip netns list | cut -d' ' -f1); do ip -n "$host" xfrm state; done \
    >> "$OUT/$1.states"
}

# stream_start FROM TO ADDRESS [ADDRESS]: numbered datagrams every 10 ms until stream_end. With the
# sender's address, past the rules of whole nodes.
stream_start() {
  local from=$1 to=$2 address=$3
  ip netns exec "$to" python3 "$LAB/stream.py" receive "$address" ${4:-} > "$OUT/stream-received" 2>&1 &
  echo $! > /tmp/n/stream.receiver
  until_true 20 listens $! 9001 || fail "no stream receiver"
  ip netns exec "$from" python3 "$LAB/stream.py" send "$address" > "$OUT/stream-sent" 2>&1 &
  echo $! > /tmp/n/stream.sender
  until_true 20 grep -q started "$OUT/stream-sent" || fail "the sender did not start"
}
# stream_end: the sender stops; both must have seen the same number of lines, none missing.
stream_end() {
  kill -TERM "$(cat /tmp/n/stream.sender)"
  wait "$(cat /tmp/n/stream.sender)" || fail "the sender failed: $(cat "$OUT/stream-sent")"
  wait "$(cat /tmp/n/stream.receiver)" ||
    fail "the receiver failed: $(cat "$OUT/stream-received")"
  [ "$(tail -1 "$OUT/stream-sent")" = "$(tail -1 "$OUT/stream-received")" ] ||
    fail "sent $(tail -1 "$OUT/stream-sent"), received $(tail -1 "$OUT/stream-received")"
}

# start_node HOST V4|V6|ANY: a whole appliance without systemd: host (with an /etc of its own, the real
# rules, and systemctl.sh for systemd), keyer, ike, serve. Its name is peer-HOST, its address the one
# of that family; with ANY it follows those of its interface. start_roles alone starts it again.
start_node() {
  local host=$1 state=/tmp/n/$1/state
  mkdir -p "$state/host"
  cp -a /etc "/tmp/n/$host/etc"
  printf 'protocol = "both"\nhost_name = "peer-%s"\nipv4 = "dhcp"\nipv6 = "dhcp"\n' "$host" \
    > "$state/host/settings.toml"
  start_roles "$@"
}
start_roles() {
  local host=$1 dir=/tmp/n/$1 address=
  [ "$2" = any ] || address="--address $($2 "$1")"
  rm -f "$dir"/run/*.sock
  ip netns exec "$host" unshare --uts sh -c "mount --bind $dir/etc /etc
    mount --bind $LAB/systemctl.sh /usr/bin/systemctl
    exec tutti --run $dir/run --state $dir/state host" >> "$OUT/$host-host.log" 2>&1 &
  echo $! > "$dir/host.pid"
  until_true 30 test -S "$dir/run/host.sock" || fail "host on $host did not start"
  start_keyer "$host"
  role "$host" ike
  # SERVE: more of its options.
  role "$host" serve --name "peer-$host" $address ${SERVE:-}
  until_true 60 tutti_on "$host" status || fail "serve on $host does not answer"
}
# kill_node HOST: as a power cut would end its processes; what the kernel holds goes with it.
kill_node() {
  local role
  for role in serve ike keyer host; do kill_role "$1" $role KILL; done
  ip -n "$1" xfrm state flush
  ip -n "$1" xfrm policy flush
}
# cluster_set HOST KEY PEER1 [PEER2 [PEER3]]: with the options in the array CLUSTER, if any.
cluster_set() {
  local host=$1 key=$2
  shift 2
  echo -n "$key" > "/tmp/n/$host/key"
  tutti_on "$host" cluster set --join --key-file "/tmp/n/$host/key" \
    --peer1 "$1" --peer2 "${2:-}" --peer3 "${3:-}" ${CLUSTER[@]+"${CLUSTER[@]}"} ||
    fail "cluster set on $host"
}
# peers_say HOST TEXT [COUNT]: `tutti peers` has the text in that many lines.
peers_say() { [ "$(tutti_on "$1" peers | grep -c "$2")" -ge "${3:-1}" ]; }
rows_say() { tutti_on "$1" tables show --limit 1000 note | grep -q "$2"; }
digest_of() { tutti_on "$1" tables digest; }
same_digests() {
  local first host
  first=$(digest_of "$1") || return 1
  for host in "$@"; do [ "$(digest_of "$host")" = "$first" ] || return 1; done
}
