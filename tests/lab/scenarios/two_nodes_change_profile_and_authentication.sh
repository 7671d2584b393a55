# Two whole nodes cluster with main mode, then with certificates and no key at all (IKEv2, then main
# mode), then as the guide's era did, each by its cluster fields alone. A certificate that names another address is
# refused when it is saved; no private key is in a log or an argument.
. "$LAB/pki.sh"
hosts a b
authority
certificate a 10.0.0.1 30 $P256
certificate b 10.0.0.2 30 $P256
A=10.0.0.1 B=10.0.0.2
capture wire
for host in a b; do start_node $host v4; done
KEY=$(tutti_on a cluster generate-key) || fail "no key"
active() { peers_say a "Active as peer-b" && peers_say b "Active as peer-a"; }
certificates_of() {
  CLUSTER=(--profile ikev2 --authentication certificates --certificate "$PKI/$1.pem"
    --certificate-key "$PKI/$1.key" --authorities "$PKI/ca.pem")
}

CLUSTER=(--profile main-mode)
cluster_set a "$KEY" $A
cluster_set a "$KEY" $A $B
cluster_set b "$KEY" $A $B
until_true 90 active || fail "main mode: $(tutti_on a peers; tutti_on b peers)"
captured wire 'udp port 500 and udp[25] = 0x10 and udp[26] = 2' || fail "no main mode on the wire"
captured wire 'udp port 500 and udp[25] = 0x20' && fail "IKEv2 on the wire"
mark "active with main mode"

certificates_of b
echo "$KEY" > /tmp/n/a/key
tutti_on a cluster set --join --key-file /tmp/n/a/key --peer1 $A --peer2 $B "${CLUSTER[@]}" \
  > "$OUT/refused" 2>&1 && fail "a certificate of another address was taken"
grep -q "Node certificate: .*10.0.0.1" "$OUT/refused" || fail "not named: $(cat "$OUT/refused")"
peers_say a "Active as peer-b" || fail "what was refused cut the tunnel"
certificates_of a
cluster_set a "$KEY" $A $B
until_true 60 peers_say a "Different IKE profile" || fail "not named: $(tutti_on a peers)"
certificates_of b
cluster_set b "$KEY" $A $B
until_true 90 active || fail "certificates: $(tutti_on a peers; tutti_on b peers)"
mark "active with certificates"
# The key is not used: without any it stays as it is, by the same SAs.
before=$(tutti_on a tunnels --json | grep -A2 spis)
CLUSTER=()
tutti_on a cluster set --peer1 $A --peer2 $B || fail "cluster set without a key"
printf 'another-key-than-before-%s' "$KEY" > /tmp/n/a/key
tutti_on a cluster set --key-file /tmp/n/a/key --peer1 $A --peer2 $B || fail "another key"
active || fail "the unused key cut the tunnel: $(tutti_on a peers)"
[ "$(tutti_on a tunnels --json | grep -A2 spis)" = "$before" ] || fail "the SAs are new"
tutti_on a cluster show

for host in a b; do
  CLUSTER=(--profile main-mode)
  cluster_set $host "$KEY" $A $B
done
until_true 90 active || fail "main mode, certificates: $(tutti_on a peers; tutti_on b peers)"
mark "active with certificates and main mode"

CLUSTER=(--profile guide-era --authentication pre-shared-key)
for host in a b; do cluster_set $host "$KEY" $A $B; done
until_true 120 active || fail "guide era: $(tutti_on a peers; tutti_on b peers)"
tutti_on a tables insert note '{"id": "1", "text": "plainrow"}' || fail "insert"
until_true 60 rows_say b plainrow || fail "b lacks the row"
mark "active as in the guide's era"
end_capture wire
only_ipsec wire
secret=$(sed -n 2p "$PKI/a.key")
grep -qF "$secret" "$OUT"/*.log && fail "the private key is in a log"
for log in /proc/[0-9]*/cmdline; do
  tr '\0' ' ' < "$log" 2> /dev/null | grep -qF "$secret" && fail "the private key is an argument"
done
mode=$(stat -c %a /tmp/n/a/state/serve/local.db)
[ "$mode" = 600 ] || fail "local.db has mode $mode"
