#!/usr/bin/env python3
"""The main job, end to end: three booted appliances, one cluster, rows inside AH.

    proof.py DEMO_DIRECTORY CHINOOK.db

Runs on the cluster that `image/demo.sh start` left standing and prints `PASS sentence` or
`FAIL sentence: why` for each behaviour, in order; exits 1 when one failed.
"""

import json
import pathlib
import re
import subprocess
import sys
import traceback

from login import Console
from rest import Rest, wait_until

HERE = pathlib.Path(__file__).resolve().parent
DEMO = HERE / "../../image/demo.sh"
MARK = "CleartextMarkerThatMustNotBeSeen"


class Peer:
    """One appliance: its REST interface, its console, its power switch."""

    def __init__(self, number, demo):
        self.number, self.name, self.address = number, f"peer{number}", f"10.99.0.1{number}"
        self.work = demo / self.name
        password = (demo / "admin-password").read_text().strip()
        self.root_password = (demo / "root-password").read_text().strip()
        self.rest = Rest(f"https://127.0.0.1:{8442 + number}", "admin", password)
        self.shell = None

    def alive(self):
        """What Console asks while it waits; a peer that is powered off simply says nothing."""

    def run(self, command):
        """What a command prints, run as root on the serial console."""
        if self.shell is None:
            self.shell = Console(self)
            self.shell.log_in("root", self.root_password, 300)
        return self.shell.run(command)

    def power(self, switch):
        self.shell = None
        subprocess.run([DEMO, f"power-{switch}", str(self.number)], check=True)

    def states(self):
        """The text beside each peer field, by address."""
        return {p["address"]: p["state"] for p in self.rest.get("/api/v1/peers")["peers"]}

    def digest(self):
        return self.rest.get("/api/v1/digest")["digest"]

    def rows(self, table):
        return self.rest.get(f"/api/v1/tables/{table}/rows?limit=1000")["rows"]


class Proof:
    def __init__(self, demo, chinook):
        self.demo, self.chinook = demo, chinook
        self.capture = demo / "wire.pcap"
        self.key = (demo / "cluster-key").read_text().strip()
        self.peers = [Peer(number, demo) for number in (1, 2, 3)]

    def active(self, peers, limit_s=300):
        for peer in peers:
            wanted = {
                other.address: "This system" if other is peer else f"Active as {other.name}"
                for other in peers
            }

            def probe(peer=peer, wanted=wanted):
                seen = peer.states()
                return all(seen.get(a, "").startswith(w) for a, w in wanted.items()) or None

            try:
                wait_until(f"{peer.name} shows {wanted}", probe, limit_s)
            except TimeoutError as error:
                raise AssertionError(f"{error}; it shows {peer.states()}") from None

    def equal(self, peers, limit_s=300):
        def probe():
            digests = {peer.digest() for peer in peers}
            return digests.pop() if len(digests) == 1 else None

        return wait_until("equal digests on " + ", ".join(p.name for p in peers), probe, limit_s)

    def insert(self, peer, row, table="proof"):
        peer.rest.post(f"/api/v1/tables/{table}/rows", row)

    def has(self, peer, wanted, limit_s=300):
        wait_until(
            f"{wanted!r} on {peer.name}",
            lambda: any(wanted in json.dumps(row) for row in peer.rows("proof")),
            limit_s,
        )

    # --- the behaviours, in order ---

    def three_images_form_a_cluster_in_the_guides_order(self):
        self.active(self.peers)

    def every_clock_follows_the_time_server_and_the_peers_say_so(self):
        wanted = ("Synchronized", 4, [("10.99.0.1", "followed")])
        for peer in self.peers:
            def seen(peer=peer):
                time = peer.rest.get("/api/v1/time")["time"]
                servers = [(s["address"], s["condition"]) for s in time["servers"]]
                if (time["state"], time["stratum"], servers) != wanted:
                    raise ValueError(time)
                return True
            wait_until(f"{peer.name} says {wanted}", seen, every_s=5)
        for name in ("NTP synchronized", "Release key valid"):
            for peer in self.peers:
                def told(peer=peer, name=name):
                    checks = peer.rest.get("/api/v1/prerequisites")["prerequisites"]
                    found = [c for c in checks if c["name"] == name]
                    if [c["grade"] for c in found] != ["met"] * 3:
                        raise ValueError(found)
                    return True
                wait_until(f"{peer.name} sees and hears '{name}' of all three", told)

    def the_imported_chinook_is_equal_on_all_three(self):
        report = self.peers[0].rest.call("POST", "/api/v1/tables/import",
                                         self.chinook.read_bytes(), "application/vnd.sqlite3",
                                         limit_s=900)
        assert len(report["tables"]) == 11, report
        self.equal(self.peers, 600)
        for peer in self.peers:
            tables = {t["name"]: t["rows"] for t in peer.rest.get("/api/v1/tables")["tables"]}
            assert tables["track"] == 3503, tables

    def a_write_on_each_appears_on_all(self):
        sql = "CREATE TABLE proof(id TEXT PRIMARY KEY NOT NULL, text TEXT)"
        self.peers[1].rest.post("/api/v1/tables", {"sql": sql})
        for peer in self.peers:
            wait_until(f"the new table on {peer.name}", lambda peer=peer: [peer.rows("proof")])
        for peer in self.peers:
            self.insert(peer, {"id": f"from-{peer.name}", "text": f"{MARK} {peer.name}"})
        for writer in self.peers:
            for reader in self.peers:
                self.has(reader, f"from-{writer.name}")
        self.equal(self.peers)

    def a_peer_powered_off_hard_comes_back_and_converges(self):
        dead, *alive = reversed(self.peers)
        dead.power("off")
        for peer in alive:
            self.insert(peer, {"id": f"alone-{peer.name}", "text": "written while one was dead"})
        for reader in alive:
            for writer in alive:
                self.has(reader, f"alone-{writer.name}")
        wait_until(
            "the dead peer is shown as unreachable",
            lambda: alive[0].states()[dead.address] == "Unreachable",
        )
        dead.power("on")
        for writer in alive:
            self.has(dead, f"alone-{writer.name}", 600)
        self.active(self.peers, 600)
        self.equal(self.peers)

    def the_wire_shows_only_isakmp_and_ah_between_peers(self):
        addresses = {p.address for p in self.peers}
        text = subprocess.run(
            ["tshark", "-n", "-r", self.capture, "-T", "fields", "-e", "ip.src", "-e", "ip.dst",
             "-e", "ip.proto", "-e", "udp.dstport"],
            check=True, capture_output=True, text=True).stdout
        kinds = {}
        for line in text.splitlines():
            source, destination, protocol, port = (line.split("\t") + [""] * 4)[:4]
            if source in addresses and destination in addresses:
                kind = f"protocol {protocol}" + (f" port {port}" if protocol == "17" else "")
                kinds[kind] = kinds.get(kind, 0) + 1
        print("     between peers:", kinds)
        allowed = {"protocol 51", "protocol 17 port 500", "protocol 1"}
        assert set(kinds) <= allowed, kinds
        assert kinds.get("protocol 51", 0) > 100 and kinds.get("protocol 17 port 500"), kinds

    def no_row_text_is_on_the_wire(self):
        data = self.capture.read_bytes()
        assert MARK.encode() not in data, "row text in clear"

    def scapy_verifies_the_icvs_with_the_kernels_keys(self):
        dump = "\n".join(p.run("ip xfrm state") for p in self.peers)
        states = self.demo / "xfrm-states.txt"
        states.touch(mode=0o600)
        states.write_text(dump)
        self.insert(self.peers[0], {"id": "icv", "text": "a packet to verify"})
        for reader in self.peers:
            self.has(reader, "icv")
        done = subprocess.run(
            ["/usr/bin/python3", str(HERE / "icv.py"), str(self.capture), str(states)],
            capture_output=True, text=True)
        print("    ", done.stdout.strip())
        assert done.returncode == 0, done.stderr[-600:] + done.stdout[-600:]

    def only_the_documented_ports_answer(self):
        peer = self.peers[0]

        def scanned():
            done = subprocess.run(
                ["ip", "netns", "exec", "tutti-demo", "python3", str(HERE / "ports.py"), peer.address],
                check=True, capture_output=True, text=True)
            found = done.stdout.split()
            assert set(found) <= {"80", "443"}, f"{peer.name}: {found}"
            return len(found) == 2
        # A machine that is slow for a moment answers a scan late: then it is scanned again.
        wait_until(f"{peer.name} answers on both", scanned, limit_s=600)

    def no_unit_failed(self):
        for peer in self.peers:
            text = peer.run("systemctl --failed --no-legend --plain")
            assert text.strip() == "", f"{peer.name}: {text}"

    def a_wrong_key_shows_as_key_mismatch_and_nothing_passes(self):
        odd, *rest = reversed(self.peers)
        fields = odd.rest.get("/api/v1/cluster")
        peers = {f"peer{n}": fields.get(f"peer{n}") for n in (1, 2, 3)}
        before = rest[0].digest()
        odd.rest.put("/api/v1/cluster", {"key": "another-Key-7f3c9b1e-of-32-letters", **peers})
        for peer in rest:
            wait_until(f"{peer.name} shows the mismatch",
                       lambda peer=peer: peer.states()[odd.address] == "Key mismatch")
        wait_until(f"{odd.name} shows the mismatch",
                   lambda: odd.states()[rest[0].address] == "Key mismatch")
        self.insert(odd, {"id": "from-outside", "text": "must not pass"})
        self.insert(rest[0], {"id": "inside", "text": "passes between the other two"})
        self.has(rest[1], "inside")
        assert not any("from-outside" in json.dumps(r) for r in rest[0].rows("proof"))
        assert before != rest[0].digest()
        odd.rest.put("/api/v1/cluster", {"key": self.key, **peers})
        self.active(self.peers)
        self.has(rest[0], "from-outside")
        self.equal(self.peers)

    BEHAVIOURS = [
        three_images_form_a_cluster_in_the_guides_order,
        every_clock_follows_the_time_server_and_the_peers_say_so,
        the_imported_chinook_is_equal_on_all_three,
        a_write_on_each_appears_on_all,
        scapy_verifies_the_icvs_with_the_kernels_keys,
        a_peer_powered_off_hard_comes_back_and_converges,
        a_wrong_key_shows_as_key_mismatch_and_nothing_passes,
        no_unit_failed,
        only_the_documented_ports_answer,
        the_wire_shows_only_isakmp_and_ah_between_peers,
        no_row_text_is_on_the_wire,
    ]


def main():
    proof = Proof(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]))
    failed = 0
    for behaviour in Proof.BEHAVIOURS:
        sentence = behaviour.__name__.replace("_", " ")
        try:
            behaviour(proof)
            print(f"PASS {sentence}", flush=True)
        except Exception as error:  # whatever it was, this sentence failed
            failed += 1
            traceback.print_exc()
            print(f"FAIL {sentence}: {re.sub(chr(10), ' ', str(error))[:300]}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
