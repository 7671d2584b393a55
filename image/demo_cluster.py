#!/usr/bin/env python3
"""Clusters the demo's three appliances in the guide's order, through REST.

    demo_cluster.py DIRECTORY    (as demo.sh left it: first-password, admin-password, cluster-key)

The password of the set-up file counts as default, so it is changed first. The initial peer founds the cluster alone; each further peer is first entered on the existing
ones, then told of them itself, and is waited for until every peer says it is active.
"""

import base64
import json
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

PORTS = [8443, 8444, 8445]
ADDRESSES = ["10.99.0.11", "10.99.0.12", "10.99.0.13"]
BOOT_S = 600
JOIN_S = 300


def opener() -> urllib.request.OpenerDirector:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the appliances' certificates are their own
    handler = urllib.request.HTTPSHandler(context=context)
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), handler)


OPENER = opener()


class Peer:
    def __init__(self, number: int, password: str):
        self.number = number
        self.url = f"https://127.0.0.1:{PORTS[number - 1]}"
        self.log_in(password)

    def log_in(self, password: str) -> None:
        login = base64.b64encode(f"admin:{password}".encode()).decode()
        self.headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, self.headers,
                                         method=method)
        try:
            with OPENER.open(request, timeout=60) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            sys.exit(f"demo: peer {self.number}: {method} {path}: {error.code} {text}")

    def wait(self, what: str, condition, timeout: int) -> None:
        """Asks again and again until condition() holds; a peer that is starting cannot answer."""
        end = time.monotonic() + timeout
        last = "no answer"
        while time.monotonic() < end:
            try:
                last = condition()
                if last is True:
                    print(f"demo: peer {self.number}: {what}", flush=True)
                    return
            except OSError as error:
                last = error
            time.sleep(1)
        sys.exit(f"demo: peer {self.number}: not '{what}' within {timeout} s: {last}")

    def answers(self):
        with OPENER.open(f"{self.url}/healthz", timeout=60) as response:
            return response.status == 200

    def active(self, count: int):
        """True once all `count` peers show as this system or active."""
        peers = self.call("GET", "/peers")["peers"]
        states = [str(peer["state"]) for peer in peers]
        fine = [s for s in states if s.startswith(("This system", "Active"))]
        return True if len(fine) == count else f"peers: {states}"

    def set_cluster(self, key: str, count: int) -> None:
        fields = {f"peer{n}": ADDRESSES[n - 1] for n in range(1, count + 1)}
        self.call("PUT", "/cluster", {"key": key, "join": True, **fields})


def main(directory: Path) -> None:
    first = (directory / "first-password").read_text().strip()
    password = (directory / "admin-password").read_text().strip()
    key = (directory / "cluster-key").read_text().strip()
    peers = [Peer(number, first) for number in (1, 2, 3)]
    for peer in peers:
        peer.wait("answers", peer.answers, BOOT_S)
        peer.call("PUT", "/password", {"password": password})
        peer.log_in(password)
    for count in (1, 2, 3):
        for peer in peers[:count]:
            peer.set_cluster(key, count)
        for peer in peers[:count]:
            peer.wait(f"sees {count} of {count}", lambda: peer.active(count), JOIN_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
