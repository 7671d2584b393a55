#!/usr/bin/env python3
"""What docs/replication.md and docs/keeping.md say of bytes, said once more: prints `name hex`.

    python3 tests/vectors/replication.py > tests/vectors/replication.txt

Written from the documents, with nothing but Python's own library: replication_encoding.py has the
rules, replication_peers.py two stores that write and exchange. What goes into each vector is here
and, once more, in the tests: tests/replication_vectors.rs and, of frames,
src/wire/replication/tests/vectors.rs.
"""

import struct
import sys

sys.dont_write_bytecode = True
from replication_encoding import *

TAG = bytes(range(0xF8, 0x100))
HASH = bytes(range(0x40, 0x60))
LAST = 2**64 - 1


def put(name, data):
    print(name, data.hex() or "-")


# Frames: length, kind, fields.


def frame(name, kind, *fields):
    inner = bytes([kind]) + b"".join(fields)
    put(f"frame.{name}", be(len(inner), 4) + inner)
    return inner


def frontier(*positions):
    return listed(u(origin) + u(seq) + chain for origin, seq, chain in positions)


def run(origin, first, transactions):
    return u(origin) + u(first) + listed(map(string, transactions)) + TAG


def told(name, of_receiver, grade, detail, seen):
    return string(name) + bytes([of_receiver, grade]) + string(detail) + bytes([seen])


def frames():
    node, other = bytes(range(16)), bytes(range(16, 32))
    frame("hello", 1, u(9), option(b"\xc1" * 16), node, u(LAST), string("Knoten 1 \u00e4"),
          string("0.1.0"), u(2**63 + 5), u(1_700_000_000_000),
          frontier((5, 300, HASH), (LAST, 1, bytes(32))),
          option(u(7) + u(8) + u(900_000) + TAG + u(262_144)), listed([other, node]), b"\xc8")
    frame("hello.bare", 1, u(9), option(None), other, u(1), string(""), string("v"), u(0), u(127),
          frontier(), option(None), listed([]), b"\0")
    frame("transactions", 2, listed([run(0, 2, [b"\x07\x08", b"\x09"]), run(300, 128, [b"\x01"])]))
    frame("ack", 3, u(300), b"\1", frontier())
    frame("ack.part", 3, u(0), b"\0", frontier((5, 6, HASH), (9, 2**40, bytes(32))))
    frame("ping", 4, u(300))
    frame("pong", 5, u(1), u(200), u(1_700_000_000_123), b"\1")
    frame("pong.unsynchronized", 5, u(LAST), u(0), u(3), b"\0")
    frame("snapshot_request", 6, option(None))
    frame("snapshot_request.part", 6, option(node + u(4_096)))
    frame("snapshot_begin", 7, other, u(2**33), u(4_096))
    frame("snapshot_chunk", 8, u(300), string(b"\x05\x06"))
    frame("snapshot_ack", 9, u(2**32))
    frame("snapshot_end", 10, HASH)
    frame("piece", 11, u(300), u(4), u(5_000_000), TAG, u(262_144), string(bytes(range(200))))
    frame("proof", 13, string(b"\x04"))
    frame("needs_snapshot", 14, b"\0")
    frame("needs_snapshot.apart", 14, b"\1")
    chains = [(300, HASH), (2, HASH[::-1]), (0, bytes(32))]
    frame("chains", 15, u(LAST), listed(u(seq) + chain for seq, chain in chains))
    frame("checks", 16, listed([told("Path MTU", 1, 3, "1500 octets \u2013 enough", 2),
                                told("Clock", 0, 0, "", 1)]))
    # Compressed: RFC 8878 with one block as it is, one of a repeated octet, and one as it is.
    inner = frame("large", 2, listed([run(300, 1, [b"\7" * 2_000])]))
    at = inner.index(b"\7" * 2_000)
    parts = [(inner[:at], 0, at), (b"\7", 1, 2_000), (inner[at + 2_000 :], 0, len(TAG))]
    zstd = b"\x28\xb5\x2f\xfd\x60" + struct.pack("<H", len(inner) - 256)
    for number, (data, kind, size) in enumerate(parts):
        header = (number == len(parts) - 1) | kind << 1 | size << 3
        zstd += header.to_bytes(3, "little") + data
    frame("compressed", 12, u(len(inner)), string(zstd))


def messages():
    def part(table, first, beyond):
        return u(table) + string(first) + option(beyond) + HASH

    def message(name, *fields):
        put(f"message.{name}", b"".join(fields))

    common = listed([u(5) + u(300), u(LAST) + u(1)])
    whole = part(2**40, b"", None)
    piece = part(3, b"\x11\x05", string(b"\x12\x01\x00"))
    states = [u(0), u(1), u(2) + HASH + option(TAG * 4), u(2) + HASH + option(None)]
    proofs = listed(string(bytes([0x11, at])) + state for at, state in enumerate(states, 1))
    message("question", u(0), common, listed([whole, piece]))
    message("answer", u(1), listed([u(0), u(1) + listed([piece]), u(2) + proofs, u(3)]))
    message("wanted", u(2), listed([u(2**40) + string(b"\x11\x05"), u(3) + string(b"\x30a\0\0")]))
    record = clock(2**31 - 1, (LAST, 300, 5), [(1, (2**48, 2, 3)), (300, (1, 2, 128))])
    message("copies", u(3), listed([option(record) + option(values([1, None])),
                                    option(None) + option(None)]))
    message("no_answer", u(4))


# Values, keys, transactions, ids.

SINGLE = {
    "null": None, "zero": 0, "one": 1, "minus_one": -1, "63": 63, "64": 64, "minus_64": -64,
    "minus_65": -65, "255": 255, "256": 256, "minus_255": -255, "minus_256": -256,
    "highest": 2**63 - 1, "lowest": -(2**63),
    "real": 1.5, "real_negative": -0.1, "real_whole": -3.0, "real_minus_zero": -0.0,
    "real_lowest_integer": -(2.0**63), "real_beyond_integers": 2.0**63,
    "real_infinite": -float("inf"),
    "text": "a\u00e9\0b", "text_empty": "", "text_number": "5",
    "blob": b"\0\xff\0", "blob_empty": b"", "blob_long": b"\x80" * 128,
}  # fmt: skip


def plain():
    for name, v in SINGLE.items():
        put(f"value.{name}", values([v]))
        put(f"key.{name}", key([v]))
    mixed = [-70_000, "x", b"y", 0.5]
    put("value.list", values(mixed))
    put("key.list", key(mixed))
    put("key.none", key([]))

    put("chain.first", sha256(bytes(32), b"one transaction"))
    put("chain.second", sha256(sha256(bytes(32), b"one transaction"), b"another"))
    winner, loser = (2**60, LAST, 7), (5, 2**63, 300)
    put("conflict.column", conflict_id("item", key([5]), "a", winner, loser, values(["lost", 1])))
    put("conflict.declaration", conflict_id("", b"", "*", loser, loser, values([])))
    put("declaration.table", be(declaration("table", "item ( id INTEGER PRIMARY KEY , a )")))
    put("declaration.engine", be(declaration("table", "item ( id )", keys="Engine", lives=12)))
    put("declaration.index", be(declaration("index", "UNIQUE i on item ( a )", table=2**48 - 1)))
    put("declaration.trigger", be(declaration("trigger", "t ;", table=77, lives=1)))
    put("declaration.own", be(own("table", "_Tutti_Block")))
    put("declaration.own_index", be(own("index", "i")))
    for incarnation, number in ((0, 0), (LAST, 1), (2**63, 300)):
        put(f"block.{incarnation}.{number}", be(block(incarnation, number)))
    put("schema.none", sha256()[:8])
    put("schema.two", named(["CREATE TABLE a(b)", "CREATE TABLE c\u00e4(d)"])[:8])


def transactions():
    node = bytes(range(16))
    everything = [None, -300, 1.5, "t\u00e4", b"\0\xff"]
    item, other = 0xFEDCBA987654, 1

    def one(name, *parts):
        put(f"transaction.{name}", transaction(*parts))

    seen = [(5, 300, TAG), (LAST, 1, HASH[:8])]
    one("rows", 1, None, [], rows(
        (item, insert([-300, "t\u00e4"], 1, everything),
         update([0, ""], 3, [(1, None), (300, "x")]), delete([b"\0"], 2**31 - 2)),
        (other, insert([1], 2**31 - 1, [])),
        (item, update([1.5], 1, [(4, b"y")]))))
    one("first", 2**48, node, seen, rows((other, delete([1], 2))))
    one("again", 2**48, node, seen + [(LAST - 1, 0, bytes(8))], rows((other, delete([1], 2))))
    one("again_on", 1, None, [(LAST - 1, 1, TAG)], rows((other, delete([1], 2))))
    one("natural", 128, None, [], schema("CREATE TABLE t(a PRIMARY KEY)", 0, item))
    one("engine", 127, None, seen, schema("CREATE TABLE t(id INTEGER PRIMARY KEY)", 1, item))
    one("index", 1, None, [], schema("CREATE INDEX i ON t(a)", 0, 5, [item]))
    one("drop", 1, None, [], schema("DROP TABLE t", 0, 0, [item, 300]))
    one("lost", LAST, None, [], lost(
        ("item", key([5]), "a", (2**60, LAST, 7), (5, 2**63, 300), values(["lost"])),
        ("", b"", "*", (1, 2, 3), (1, 2, 3), values([]))))


if __name__ == "__main__":
    print("# What the documents say that frames, transactions, keys, clocks, ids, digests are.")
    print("# Made by: python3 tests/vectors/replication.py > tests/vectors/replication.txt")
    frames()
    messages()
    plain()
    transactions()
    import replication_peers

    replication_peers.main(put)
