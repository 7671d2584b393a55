#!/usr/bin/env python3
"""Forwards loopback ports of this machine to addresses inside a network namespace.

    demo_forward.py NAMESPACE PORT=ADDRESS:PORT...

The listeners are made here, then this process enters the namespace: what it dials afterwards is
dialled there, while the listeners stay where they were made.
"""

import asyncio
import ctypes
import os
import socket
import sys

CLONE_NEWNET = 0x40000000


def enter(namespace: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}", "rb") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            sys.exit(f"demo_forward: cannot enter {namespace}: {os.strerror(error)}")


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()


def forward(address: str, port: int):
    async def connection(reader, writer):
        try:
            to_reader, to_writer = await asyncio.open_connection(address, port)
            await asyncio.gather(copy(reader, to_writer), copy(to_reader, writer))
            to_writer.close()
        except OSError:
            pass
        writer.close()

    return connection


async def main(namespace: str, rules: list[str]) -> None:
    servers = []
    for rule in rules:
        local, target = rule.split("=")
        address, port = target.rsplit(":", 1)
        listener = socket.create_server(("127.0.0.1", int(local)))
        servers.append((forward(address, int(port)), listener))
    enter(namespace)
    running = [await asyncio.start_server(handle, sock=sock) for handle, sock in servers]
    await asyncio.gather(*(server.serve_forever() for server in running))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
