#!/usr/bin/env python3
"""Prints which TCP ports of an address answer, of 1 to 10,000.

    ports.py ADDRESS
"""

import asyncio
import sys

AT_ONCE, PATIENCE_S = 800, 4


async def answers(address, port, turn):
    async with turn:
        try:
            _, stream = await asyncio.wait_for(asyncio.open_connection(address, port), PATIENCE_S)
        except (OSError, TimeoutError, asyncio.TimeoutError):
            return False
        stream.close()
        return True


async def main(address):
    turn = asyncio.Semaphore(AT_ONCE)
    ports = range(1, 10_001)
    found = await asyncio.gather(*(answers(address, port, turn) for port in ports))
    print(*(port for port, open_ in zip(ports, found) if open_))


asyncio.run(main(sys.argv[1]))
