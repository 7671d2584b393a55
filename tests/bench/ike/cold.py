#!/usr/bin/python3
"""Waits until every listed host has its tunnel to each of the others: cold.py HOST ADDRESS ..."""

import sys

from ike import Ike

hosts = dict(zip(sys.argv[1::2], sys.argv[2::2]))
for host, own in hosts.items():
    Ike(f"/tmp/n/{host}/run/ike.sock").wait_up([at for at in hosts.values() if at != own])
