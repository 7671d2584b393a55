#!/usr/bin/python3
"""A stream of numbered UDP datagrams between two hosts; UDP, because TCP would hide a loss.

  stream.py send ADDRESS       until SIGTERM, then prints how many; one each STREAM_MS, else 10 ms
  stream.py receive ADDRESS [SENDER]    until the sender says it ended, prints how many arrived

The last datagram (repeated, so that it arrives) carries the count. With the sender's address one
datagram goes there first, which it drops: the rules of whole nodes let no stranger's port in, and
take what comes back as its answer.
"""

import os
import signal
import socket
import sys
import time

PORT = 9001
mode, address, *sender = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET

if mode == "receive":
    # A TCP listener only says that we are ready.
    ready = socket.create_server((address, PORT), family=family)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        # What waits while somebody else has the processor is not lost. (SO_RCVBUFFORCE)
        sock.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
        sock.bind((address, PORT))
        for peer in sender:
            sock.sendto(b"here", (peer, PORT + 1))
        seen = set()
        while True:
            data = sock.recv(2048).decode()
            if data.startswith("end "):
                print(len(seen))
                missing = sorted(set(range(int(data[4:]))) - seen)
                sys.exit(f"missing: {missing}" if missing else 0)
            seen.add(int(data))
else:
    running = True
    pause = float(os.environ.get("STREAM_MS", "10")) / 1000

    def stop(*_):
        global running
        running = False

    signal.signal(signal.SIGTERM, stop)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind(("", PORT + 1))
        count = 0
        while running:
            sock.sendto(str(count).encode(), (address, PORT))
            count += 1
            if count == 1:
                print("started", flush=True)
            time.sleep(pause)
        time.sleep(1)
        for _ in range(5):
            sock.sendto(f"end {count}".encode(), (address, PORT))
            time.sleep(0.1)
    print(count)
