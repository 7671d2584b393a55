# What a peer field says, exactly, as each of its reasons comes and goes between whole nodes, on both
# sides where both know.
hosts a b c d
A=10.0.0.1 B=10.0.0.2 C=10.0.0.3 D=10.0.0.4
for host in a b; do start_node $host v4; done
KEY=$(tutti_on a cluster generate-key) || fail "no key"
# says HOST TEXT: waits for that state, as it is worded.
says() { until_true 120 peers_say "$1" "$2" || fail "$1 does not say '$2': $(tutti_on "$1" peers)"; }
pair() { says a "Active as peer-b"; says b "Active as peer-a"; }
cluster_set a "$KEY" $A
says a "This system"
cluster_set a "$KEY" $A $B
cluster_set b "$KEY" $A $B
pair
mark "This system, Active as"

ip link set vb down
says a Unreachable
ip link set vb up
pair
mark Unreachable

cluster_set a "$KEY" $A
says b "Not in its peer list"
cluster_set a "$KEY" $A $B
pair
mark "Not in its peer list"

cluster_set b "vary-9umbrella-Kilo42-tidal-basin" $A $B
for host in a b; do says $host "Key mismatch"; done
peers_say a probably && fail "IKEv2 knows: $(tutti_on a peers)"
for host in a b; do CLUSTER=(--profile main-mode); cluster_set $host "$KEY" $A $B; done
pair
cluster_set b "vary-9umbrella-Kilo42-tidal-basin" $A $B
for host in a b; do says $host "Key mismatch, probably"; done
mark "Key mismatch, and probably"
CLUSTER=(--profile ikev2)
cluster_set b "$KEY" $A $B
for host in a b; do says $host "Different IKE profile"; done
cluster_set a "$KEY" $A $B
pair
CLUSTER=()
mark "Different IKE profile"

ppk() { CLUSTER=(--post-quantum-key-file "/tmp/n/$2" --post-quantum-key-id "$3"); cluster_set "$1" "$KEY" $A $B; }
tutti_on a cluster generate-key > /tmp/n/ppk || fail "no post-quantum key"
tutti_on a cluster generate-key > /tmp/n/other || fail "no post-quantum key"
ppk a ppk lab
says a "Post-quantum key: the peer uses none"
says b "Post-quantum key: the peer requires one"
ppk b ppk office
for host in a b; do says $host "Post-quantum key: the peer's has another identity"; done
ppk b other lab
for host in a b; do says $host "Post-quantum key: it or the cluster key differs"; done
ppk b ppk lab
pair
grep -qF "$(cat /tmp/n/ppk)" "$OUT"/*.log && fail "the post-quantum key is in a log"
: > /tmp/n/none
for host in a b; do CLUSTER=(--post-quantum-key-file /tmp/n/none); cluster_set $host "$KEY" $A $B; done
pair
CLUSTER=()
mark "Post-quantum key"

# Its own authority is not a's.
. "$LAB/pki.sh"
authority
certificate a $A 30 $P256
certificate b $B 30 $P256
cp "$PKI/ca.pem" "$PKI/first.pem"
certified() {
  CLUSTER=(--authentication certificates --certificate "$PKI/$1.pem"
    --certificate-key "$PKI/$1.key" --authorities "$2")
  cluster_set "$1" "$KEY" $A $B
}
certified a "$PKI/first.pem"
certified b "$PKI/first.pem"
pair
authority
certificate b $B 30 $P256
cat "$PKI/first.pem" "$PKI/ca.pem" > "$PKI/both.pem"
certified b "$PKI/both.pem"
says a "Certificate refused: certificate not issued by a trusted authority"
says b "Certificate refused: the peer refused our certificate"
for host in a b; do CLUSTER=(--authentication pre-shared-key); cluster_set $host "$KEY" $A $B; done
CLUSTER=()
pair
mark "Certificate refused"

# b goes on as another version.
kill_node b
SERVE="--told-version 9.8.7" start_roles b v4
says a "Different version: 9.8.7"
says b "Different version: $(tutti --version | sed 's/.* //')"
kill_node b
start_roles b v4
pair
mark "Different version"

# b's clock runs 3.2 s ahead.
kill_node b
PROGRAM="FAKETIME=+3.2s FAKETIME_DONT_FAKE_MONOTONIC=1
  LD_PRELOAD=$(find /usr/lib -name libfaketimeMT.so.1) tutti" start_roles b v4
for host in a b; do
  says $host "Clock off by 3.[12] s"
  tutti_on $host prerequisites | grep -Eq "Clock offset +unmet +-?3[12][0-9][0-9] ms, at most 500" ||
    fail "$host: $(tutti_on $host prerequisites)"
done
kill_node b
start_roles b v4
pair
mark "Clock off"

# c founded a cluster of its own with the same key.
start_node c v4
cluster_set c "$KEY" $C
cluster_set c "$KEY" $A $B $C
for host in a b; do cluster_set $host "$KEY" $A $B $C; done
says a "Other cluster"
says c "Other cluster"
tutti_on c cluster clear || fail "c cannot leave"
mark "Other cluster"

# Much to copy, through a slow line: first a joiner, then a member that was away.
python3 - << 'P'
import os, sqlite3
with sqlite3.connect("/tmp/n/much.db") as db:
    db.execute("CREATE TABLE much (id INTEGER PRIMARY KEY NOT NULL, a TEXT)")
    db.executemany("INSERT INTO much VALUES (?, ?)",
                   ((n, os.urandom(100).hex()) for n in range(20000)))
P
tutti_on a tables import /tmp/n/much.db > /dev/null || fail "no import"
until_true 120 same_digests a b || fail "the import did not arrive"
tc qdisc add dev vc root tbf rate 8mbit burst 32k latency 200ms || fail "no slow line"
cluster_set c "$KEY" $A $B $C
says c "Joining [0-9]* %"
for by in a b; do says c "Active as peer-$by"; done
mark "Joining"
kill_node c
sqlite3 /tmp/n/much.db 'ALTER TABLE much RENAME TO more'
tutti_on a tables import /tmp/n/much.db > /dev/null || fail "no second import"
until_true 120 same_digests a b || fail "the second import did not arrive"
start_roles c v4
says c "Catching up: [0-9,]* changes"
tc qdisc del dev vc root
for by in a b; do says c "Active as peer-$by"; done
until_true 120 same_digests a b c || fail "digests differ"
mark "Catching up"
