#!/usr/bin/python3
"""Waits until `tutti ike` says that its tunnel to a peer has this state; also over its restarts.

  await.py SOCKET ADDRESS STATE
"""

import os
import sys

sys.path.insert(0, os.environ["LAB"] + "/../bench")
from ike import Ike  # noqa: E402

path, peer, wanted = sys.argv[1:]
while True:
    try:
        Ike(path, patience=86400).wait(lambda states: states.get(peer) == wanted)
        break
    except ConnectionError:
        pass
