#!/bin/bash
# Three appliances that are a cluster, on a bridge in a network namespace of its own: TAP, chrony
# and dnsmasq for time and names, tcpdump on the wire. Touches nothing of this machine but
# the namespace, out/demo and three ports on loopback.
# Usage: demo.sh start [IMAGE] | boot [IMAGE] (without clustering) | stop
#        demo.sh power-off N | power-on N    (hard, as a cut cable; N is 1 to 3)
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
out=${TUTTI_OUT:-$(dirname "$here")/out}
demo=$out/demo
ns=tutti-demo
ports=(8443 8444 8445)

die() { echo "demo: $*" >&2; exit 1; }
inside() { ip netns exec $ns "$@"; }

# run NAME COMMAND...: starts it in the background; stop ends exactly what is noted here.
run() {
    local name=$1
    shift
    # Descriptors of this script (a log pipe, say) must not outlive it in a daemon.
    setsid "$@" < /dev/null > "$demo/$name.log" 2>&1 &
    # The start time tells our process from a later one with the same number.
    echo "$! $(cut -d ' ' -f 22 "/proc/$!/stat")" > "$demo/$name.pid"
}
running() {
    local pid='' start=''
    read -r pid start 2> /dev/null < "$1" || return 1
    [ "$(cut -d ' ' -f 22 "/proc/$pid/stat" 2>/dev/null)" = "$start" ]
}

power_off() {
    local file=$demo/peer$1.pid pid
    [ -e "$file" ] && running "$file" || die "peer $1 is not running"
    read -r pid _ < "$file"
    kill -9 "$pid"
    while running "$file"; do sleep 0.1; done
    rm "$file"
}

stop() {
    local file pid
    for file in "$demo"/*.pid; do
        [ -e "$file" ] || continue
        read -r pid _ < "$file"
        if running "$file"; then
            kill "$pid"
            for _ in $(seq 100); do
                running "$file" || break
                sleep 0.1
            done
            running "$file" && kill -9 "$pid"
        fi
        rm -f "$file"
    done
    ip netns del $ns 2>/dev/null || true
}

network() {
    ip netns add $ns
    inside sysctl -qw net.ipv6.conf.all.disable_ipv6=1
    inside ip link set lo up
    inside ip link add lan type bridge
    inside ip address add 10.99.0.1/24 dev lan
    inside ip link set lan up
    local n
    for n in 1 2 3; do
        inside ip tuntap add tap$n mode tap
        inside ip link set tap$n master lan
        inside ip link set tap$n up
    done
}

services() {
    local root=$out/image/root
    # The image's own chronyd, which so needs no package and starts no service here. -x: it never
    # touches this machine's clock, only tells it.
    run chronyd ip netns exec $ns chroot "$root" chronyd -x -d -u root 'local stratum 3' \
        'allow 10.99.0.0/24' 'cmdport 0' 'bindcmdaddress /' 'pidfile /'
    run dnsmasq ip netns exec $ns dnsmasq --keep-in-foreground --conf-file=/dev/null --no-hosts \
        --no-resolv --listen-address=10.99.0.1 --bind-interfaces --user=root --pid-file= \
        --host-record=ntp.demo.test,10.99.0.1 --host-record=peer1.demo.test,10.99.0.11 \
        --host-record=peer2.demo.test,10.99.0.12 --host-record=peer3.demo.test,10.99.0.13
    run tcpdump ip netns exec $ns tcpdump -i lan -n -U --immediate-mode -Z root -w "$demo/wire.pcap"
    run forward python3 "$here/demo_forward.py" $ns ${ports[0]}=10.99.0.11:443 \
        ${ports[1]}=10.99.0.12:443 ${ports[2]}=10.99.0.13:443
}

secret() { head -c 15 /dev/urandom | base64 | tr '+/' '-_'; }

setup_file() {
    cat <<T
protocol = "ipv4"
host_name = "peer$1"
domain_name = "demo.test"
dns_servers = ["10.99.0.1"]
ntp_servers = ["10.99.0.1"]
time_zone = "UTC"
ssh = false
admin_password = "$(cat "$demo/first-password")"
root_password = "$(cat "$demo/root-password")"

[ipv4.static]
address = "10.99.0.1$1"
prefix = 24
gateway = "10.99.0.1"
T
}

# Also when this runs by itself and not by build.sh.
emulator() {
    [ -z "${TUTTI_EMULATOR:-}" ] || return 0
    local cache=${TUTTI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tutti}
    TUTTI_EMULATOR=$("$here/emulator.sh" "$cache/image")
    PATH="$TUTTI_EMULATOR/wrap:$PATH"
}

machine() {
    local n=$1 image=$2 dir=$demo/peer$1
    emulator
    mkdir -p "$dir"
    qemu-img create -q -f qcow2 -F raw -b "$(readlink -f "$image")" "$dir/disk.qcow2" 6G
    printf 'io.systemd.credential.binary:tutti.setup=%s' "$(setup_file "$n" | base64 -w 0)" \
        > "$dir/smbios"
    power_on "$n"
}

power_on() {
    local n=$1 dir=$demo/peer$1 threads=multi
    # With fewer cores than processors a thread would spin for another that has none.
    [ "$(nproc)" -ge 6 ] || threads=single
    emulator
    run "peer$n" ip netns exec $ns qemu-system-x86_64 -name "tutti-peer$n" -machine q35 \
        -accel tcg,thread=$threads -cpu max,-cx16,-la57,-erms,-fsrm -smp 2 -m 512 -nodefaults -display none \
        -vga std -qmp "unix:$dir/qmp.sock,server=on,wait=off" \
        -chardev "socket,id=console,path=$dir/console.sock,server=on,wait=off,logfile=$dir/console.log" \
        -serial chardev:console -smbios "type=11,path=$dir/smbios" \
        -drive "if=virtio,file=$dir/disk.qcow2,format=qcow2,cache=writeback" \
        -netdev "tap,id=lan,ifname=tap$n,script=no,downscript=no" \
        -device "virtio-net-pci,netdev=lan,mac=52:54:00:99:00:1$n"
}

start() {
    local image=${1:-} n
    if [ -z "$image" ]; then
        image=$(find "$out" -maxdepth 1 -name 'tutti-*-amd64.img' -printf '%T@ %p\n' |
            sort -n | tail -n 1 | cut -d ' ' -f 2-)
    fi
    [ -n "$image" ] || die "no image in $out: build it first"
    for n in qemu-system-x86_64 qemu-img dnsmasq tcpdump python3 ip; do
        command -v $n > /dev/null || die "$n is missing"
    done
    [ -c /dev/net/tun ] || die "/dev/net/tun is missing: TAP devices need it"
    stop
    rm -rf "$demo"
    mkdir -p "$demo"
    chmod 700 "$demo"
    (umask 077 && for n in first-password admin-password root-password cluster-key; do
        secret > "$demo/$n"
    done)
    echo "demo: network, time, names, capture"
    network
    services
    echo "demo: three appliances from $image"
    for n in 1 2 3; do (umask 077; machine $n "$image"); done
    for n in "$demo"/*.pid; do
        sleep 0.2
        running "$n" || die "$(basename "$n" .pid) ended by itself, see ${n%.pid}.log"
    done
}

# report WHICH NOTE: where it is, and who may log in; the web's password as WHICH says.
report() {
    local n
    echo
    for n in 1 2 3; do
        echo "peer$n  https://127.0.0.1:${ports[n - 1]}/   (10.99.0.1$n)" \
            "  console: socat -,raw,echo=0,escape=0x1d UNIX:$demo/peer$n/console.sock"
    done
    echo "web login      admin / $(cat "$demo/$1-password")$2"
    echo "console login  root / $(cat "$demo/root-password") (asks for a new one, once on each)"
    echo "cluster key    $(cat "$demo/cluster-key")"
    echo "on the wire    tcpdump -nr $demo/wire.pcap"
    echo "end it with    ./build.sh demo --stop"
}

case ${1:-} in
start)
    start "${2:-}"
    python3 "$here/demo_cluster.py" "$demo" || die "see $demo/peer*/console.log"
    report admin ""
    ;;
boot)
    start "${2:-}"
    report first " (asks for a new one, once on each)"
    ;;
stop) stop ;;
power-off) power_off "${2:?which peer}" ;;
power-on) power_on "${2:?which peer}" ;;
*) die "usage: demo.sh start|boot [IMAGE] | stop | power-off N | power-on N" ;;
esac
