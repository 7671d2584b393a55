#!/usr/bin/python3
"""What malformed datagrams cost `tutti ike`, natively: 20,000 a second on the loopback interface
of a network namespace of its own.

  flood.py TUTTI SECONDS

Prints `name: value` lines. The datagrams come from the listed peer's address, so that they are
read and not only dropped by their source: random octets, headers with wrong lengths, requests cut
short or with damaged payloads, and messages of no connection.
"""

import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time

RATE, BURST = 20_000, 40
LOCAL, PEER, STRANGER = "127.77.0.1", "127.77.0.2", "127.77.0.3"


def header(payload, exchange, flags, length, spi=b"\x11" * 8):
    return spi + bytes(8) + bytes([payload, 0x20, exchange, flags]) + bytes(4) + struct.pack(
        ">I", length)


def malformed(rng):
    """Eight kinds of nonsense in equal parts."""
    body = rng.randbytes(rng.randrange(16, 400))
    whole = 28 + len(body)
    kinds = [
        rng.randbytes(rng.randrange(1, 600)),
        header(33, 34, 0x08, whole, rng.randbytes(8)) + body,
        header(33, 34, 0x08, whole + 9) + body,
        header(46, 35, 0x08, whole, rng.randbytes(8)) + body,
        header(53, 37, 0x28, whole, rng.randbytes(8)) + body,
        header(33, 34, 0x08, 28),
        # A proposal whose transforms run past its end.
        header(33, 34, 0x08, 48) + bytes([0, 0, 0, 20, 0, 0, 0, 16, 1, 1, 0, 9]) + bytes(8),
        header(1, 2, 0, whole)[:17] + b"\x10" + header(1, 2, 0, whole)[18:] + body,
    ]
    return kinds


def cpu_s(pid):
    """Seconds of processor that all threads have used."""
    tasks = os.listdir(f"/proc/{pid}/task")
    return sum(int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0])
               for task in tasks) / 1e9


def flood(pid, source, datagrams, seconds):
    """Cores that the process used, and how many datagrams a second were sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((source, 500))
        sender.connect((LOCAL, 500))
        start, cpu, sent = time.monotonic(), cpu_s(pid), 0
        while (elapsed := time.monotonic() - start) < seconds:
            if sent > elapsed * RATE:
                time.sleep(BURST / RATE / 2)
                continue
            for _ in range(BURST):
                try:
                    sender.send(datagrams[sent % len(datagrams)])
                except ConnectionRefusedError:
                    sys.exit("tutti ike does not listen on UDP 500")
                sent += 1
        elapsed = time.monotonic() - start
        return (cpu_s(pid) - cpu) / elapsed, sent / elapsed


def drops():
    """Datagrams that the kernel could not queue for anybody."""
    lines = [line.split() for line in open("/proc/net/snmp") if line.startswith("Udp:")]
    return int(dict(zip(lines[0], lines[1]))["RcvbufErrors"])


def main():
    tutti, seconds = sys.argv[1], float(sys.argv[2])
    rng = random.Random(1)
    datagrams = [one for _ in range(500) for one in malformed(rng)]
    with tempfile.TemporaryDirectory() as run:
        path = f"{run}/desired.toml"
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(f'local = "{LOCAL}"\nkey = "a key of the bench, which nobody uses"\n'
                       f'certificate = "{"0a" * 32}"\n'
                       f'[[peer]]\nfield = 2\naddress = "{PEER}"\n')
        process = subprocess.Popen([tutti, "--run", run, "ike", "--desired", path],
                                   stderr=open(f"{run}/log", "w"))
        try:
            for _ in range(500):
                if ":01F4" in open("/proc/net/udp").read():
                    break
                time.sleep(0.02)
            flood(process.pid, PEER, datagrams, 0.5)
            before = drops()
            share, rate = flood(process.pid, PEER, datagrams, seconds)
            print(f"malformed_pps: {rate:.0f}")
            print(f"malformed_pps_cpu: {share:.2f}")
            print(f"malformed_dropped_by_the_kernel: {drops() - before}")
            share, rate = flood(process.pid, STRANGER, datagrams, seconds)
            print(f"strangers_pps_cpu: {share:.2f}")
            if process.poll() is not None:
                sys.exit(f"tutti ike ended: {open(f'{run}/log').read()}")
            # It answers who may ask.
            subprocess.run([tutti, "--run", run, "tunnels"], check=True, timeout=120,
                           stdout=subprocess.DEVNULL)
            for line in open(f"/proc/{process.pid}/status"):
                if line.startswith("VmHWM"):
                    print(f"malformed_rss_mb: {int(line.split()[1]) / 1024:.1f}")
        finally:
            process.kill()
            process.wait()


main()
