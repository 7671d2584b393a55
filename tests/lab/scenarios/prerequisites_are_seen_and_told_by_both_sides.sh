# The prerequisites of two whole nodes, all of them and exactly, as each side sees them and as it hears
# them of the other: alone, as a cluster, on a slow line, of another version, with a release that is
# not what its builder signed, on a link of 1,400 octets, and cut off.
hosts a b
A=10.0.0.1 B=10.0.0.2
V=$(tutti --version | sed 's/.* //')
# What an image has of its builder; the guest itself is none.
mkdir -p /usr/share/tutti
mount -t tmpfs release /usr/share/tutti
(
  cd /usr/share/tutti || exit
  echo "version = \"$V\"" > release
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=lab builder" -outform DER \
    -keyout key.pem -out builder.cer && openssl dgst -sha256 -sign key.pem -out release.sig release
) 2> /dev/null || fail "no release was signed"
for host in a b; do start_node $host v4; done
KEY=$(tutti_on a cluster generate-key) || fail "no key"
pair() {
  until_true 120 peers_say a "Active as peer-b" || fail "a: $(tutti_on a peers)"
  until_true 120 peers_say b "Active as peer-a" || fail "b: $(tutti_on b peers)"
}

# sees HOST: waits for exactly the prerequisites of standard input. The clock's offset is N ms, and
# how long a round trip takes is left to `slow`: that depends on what else this machine does.
besides="Round-trip"
sees() {
  cat > "$OUT/expected"
  until_true 120 same_as_expected "$1" || fail "$(mark "$1"; diff "$OUT/expected" "$OUT/seen-$1")"
}
same_as_expected() {
  tutti_on "$1" prerequisites | sed -E 's/ +/ /g; s/ $//; s/-?[0-9]+ ms,? through/N ms through/' |
    grep -vE "$besides" > "$OUT/seen-$1"
  cmp -s "$OUT/expected" "$OUT/seen-$1"
}
# own HOST OF ADDRESSES [BY]: the lines of one system about itself; b has what a lacks.
declare -A release=([a]="met valid, signed by lab builder" [b]="met valid, signed by lab builder")
own() {
  local dns="unmet none: System > DNS" name="warning peer-a, without a domain name"
  local here="this system${4:-}"
  [ "$1" = a ] || { dns="met one" name="met peer-b.lab.example"; }
  echo "$2 NTP synchronized unmet not synchronized: System > Time $here
$2 DNS server present $dns $here
$2 Host and domain name set $name $here
$2 Unique addresses met $3 $here
$2 Release key valid ${release[$1]} $here"
}
# way HOST OF [BY]: the lines of one side about the way to the other.
declare -A mtu=([a]="1500 octets" [b]="1500 octets")
way() {
  echo "$2 UDP 500 reachable met it answers through the tunnel${3:-}
$2 Path MTU met ${mtu[$1]} before the tunnel${3:-}
$2 Protocol 51 reachable met it arrives through the tunnel${3:-}
$2 Same version met $V through the tunnel${3:-}
$2 Clock offset met N ms through the tunnel${3:-}"
}
# both WORDS: each side sees all this of itself and of the way, and hears the same of the other.
both() {
  local host other field
  for host in a b; do
    case $host in a) other=b field=2 ;; b) other=a field=1 ;; esac
    {
      own $host "This system" "2 of 3, all different"
      way $host "Peer $field"
      own $other "Peer $field" "2 of 3, all different" " peer $field says so"
      way $other "This system" " peer $field says so"
    } | sees $host
  done
  mark "$1"
}

own a "This system" "no peers are entered" | sees a
tutti_on b settings set dns_servers=10.0.0.53 domain_name=lab.example || fail "no settings on b"
own b "This system" "no peers are entered" | sees b
mark "alone"

cluster_set a "$KEY" $A
cluster_set a "$KEY" $A $B
cluster_set b "$KEY" $A $B
pair
both "a cluster"

# slow HOST: a round trip of 40 ms and more, and the other says so, too.
slow() {
  local field figure="warning +([4-9][0-9]|[0-9]{3,})\\.[0-9] ms, more than 30 ms +through the tunnel"
  [ "$1" = a ] && field=2 || field=1
  tutti_on "$1" prerequisites > "$OUT/slow-$1"
  grep -Eq "^Peer $field +Round-trip at most 30 ms +$figure *$" "$OUT/slow-$1" &&
    grep -Eq "^This system +Round-trip at most 30 ms +$figure +peer $field says so *$" "$OUT/slow-$1"
}
tc qdisc add dev vb root netem delay 40ms || fail "no slow line"
for host in a b; do
  until_true 60 slow $host || fail "$host does not see 40 ms: $(cat "$OUT/slow-$host")"
done
tc qdisc del dev vb root
mark "a slow line"

# b goes on as another version, on a link of 1,400 octets.
kill_node b
ip link set vb mtu 1400
ip -n b link set eth0 mtu 1400
echo "one line more" >> /usr/share/tutti/release
release[b]="unmet the release is not what its builder signed"
SERVE="--told-version 9.8.7" start_roles b v4
version() {
  tutti_on "$1" prerequisites | grep -Eq "^Peer $2 +Same version +unmet +$3 +through the tunnel *$"
}
until_true 60 version a 2 "9.8.7, here $V" || fail "a: $(tutti_on a prerequisites)"
until_true 60 version b 1 "$V, here 9.8.7" || fail "b: $(tutti_on b prerequisites)"
mark "another version"

kill_node b
start_roles b v4
pair
# The bridge lets four octets more pass than its port has: a VLAN's tag.
mtu=([a]="1404 octets: less than Ethernet's" [b]="1400 octets: less than Ethernet's")
both "an altered release, and a link of 1,400 octets"

# The path's size is probed each minute, so that of before may still be said.
besides="$besides|Path MTU"
ip link set vb down
for host in a b; do
  case $host in a) field=2 ;; b) field=1 ;; esac
  {
    own $host "This system" "2 of 3, all different"
    echo "Peer $field UDP 500 reachable unmet no answer before the tunnel
Peer $field Protocol 51 reachable unknown needs a tunnel through the tunnel
Peer $field Same version unknown needs a link through the tunnel
Peer $field Clock offset unknown needs a link through the tunnel"
  } | sees $host
done
mark "cut off"
