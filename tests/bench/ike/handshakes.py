#!/usr/bin/python3
"""Handshakes of our pair (a, b) and of charon's (c, d) with one proposal, in turns.

  handshakes.py NAME VERSION PROPOSAL ROUNDS EACH WATCHED

WATCHED is what watch.py printed, and goes on printing. Prints `name: value` lines; a ratio is the
median of the rounds' ratios. With COUNTED=1 only the responder's processor time, of a guest whose
clock counts instructions.
"""

import os
import statistics
import sys
import time

from ike import Ike, desired
from vici import Vici

A, B = "10.0.0.1", "10.0.0.2"
KEY = os.environ["KEY"]


def cpu_ms(host, roles):
    """Milliseconds of processor that all threads of these processes have used."""
    total = 0
    for role in roles:
        pid = open(f"/tmp/n/{host}/{role}.pid").read().strip()
        for task in os.listdir(f"/proc/{pid}/task"):
            total += int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0])
    return total / 1e6


class Ours:
    name, roles, responder = "ours", ["ike", "keyer"], "b"

    def __init__(self, version, proposal):
        self.a, self.b = Ike("/tmp/n/a/run/ike.sock"), Ike("/tmp/n/b/run/ike.sock")
        self.at_a = desired(A, [(B, 7402)], KEY, version, proposal)
        self.at_b = desired(B, [(A, 7401)], KEY, version, proposal)

    def ready(self):
        """The responder knows its peer; it would begin by itself only after 1.5 s."""
        self.b.configure(self.at_b)
        self.b.wait(lambda states: A in states)

    def begin(self):
        self.a.configure(self.at_a)
        self.a.wait_up([B])
        self.b.wait_up([A])

    def end(self):
        self.a.configure(None)
        self.a.wait(lambda states: not states)
        self.b.configure(None)
        self.b.wait(lambda states: not states)


class Charon:
    name, roles, responder = "charon", ["charon"], "d"

    def __init__(self):
        self.vici = Vici("/tmp/n/c/vici")

    def ready(self):
        """It always is."""

    def begin(self):
        self.vici.initiate()

    def end(self):
        self.vici.terminate()


def turn(side, count, pause=0.1):
    """`count` handshakes: when they began, seconds in all, the responder's milliseconds each by
    role. What making ready and ending cost is left out: the pause lets it end."""
    start, used = time.monotonic(), [0] * len(side.roles)
    for _ in range(count):
        side.ready()
        time.sleep(pause)
        before = [cpu_ms(side.responder, [role]) for role in side.roles]
        side.begin()
        after = [cpu_ms(side.responder, [role]) for role in side.roles]
        used = [sum - b + a for sum, b, a in zip(used, before, after)]
        side.end()
    return start, time.monotonic() - start, [sum / count for sum in used]


def watched(path, side, start, seconds):
    for line in open(path):
        words = line.split()
        if words[0] == side.name and start <= float(words[1]) <= start + seconds:
            yield float(words[3])


def responder(turns, sides, what):
    """What a handshake costs the responder."""
    ours, charon = (statistics.median(sum(pair[n][2]) for pair in turns) for n in (0, 1))
    ratio = statistics.median(sum(pair[0][2]) / sum(pair[1][2]) for pair in turns)
    print(f"{what}_ms: {ours:.2f}")
    for at, role in enumerate(sides[0].roles):
        part = statistics.median(pair[0][2][at] for pair in turns)
        print(f"{what}_ms_{role}: {part:.2f}")
    print(f"{what}_ms_charon: {charon:.2f}")
    print(f"{what}_ratio: {ratio:.2f}")


def main():
    name, version, proposal, rounds, each, path = sys.argv[1:]
    sides = [Ours(int(version), proposal), Charon()]
    for side in sides:
        turn(side, 2)
    turns = [[turn(side, int(each)) for side in sides] for _ in range(int(rounds))]
    # One more, so that the last one measured is printed.
    for side in sides:
        turn(side, 1)
    time.sleep(0.5)
    if os.environ.get("COUNTED"):
        responder(turns, sides, "responder_cpu")
        return
    ms, ratios = {side.name: [] for side in sides}, []
    for pair in turns:
        medians = []
        for side, (start, seconds, _) in zip(sides, pair):
            found = list(watched(path, side, start, seconds))
            if len(found) < int(each) - 1:
                sys.exit(f"{name}: {len(found)} of {each} handshakes of {side.name} were seen")
            ms[side.name] += found
            medians.append(statistics.median(found))
        ratios.append(medians[0] / medians[1])
    print(f"handshake_ms_{name}: {statistics.median(ms['ours']):.1f}")
    print(f"handshake_ms_{name}_charon: {statistics.median(ms['charon']):.1f}")
    print(f"handshake_ms_{name}_ratio: {statistics.median(ratios):.2f}")
    if name == "v2_psk":
        responder(turns, sides, "responder_emulated")
        # One after the other as fast as they go, ends included.
        for side, suffix in zip(sides, ("", "_charon")):
            count = int(rounds) * int(each)
            print(f"handshakes_per_s{suffix}: {count / turn(side, count, 0)[1]:.1f}")


main()
