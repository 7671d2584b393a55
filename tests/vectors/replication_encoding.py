"""How docs/replication.md and docs/keeping.md say that things are written, for replication.py.

From the documents, not from the code that it is there to check.
"""

import struct
from hashlib import sha256 as _sha256


def sha256(*parts):
    return _sha256(b"".join(parts)).digest()


def be(number, size=8):
    return number.to_bytes(size, "big")


# postcard (docs/replication.md, Frames): u8 is a raw byte, a bool 0 or 1.


def u(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def signed(number):
    return u(2 * number if number >= 0 else -2 * number - 1)


def string(data):
    data = data.encode() if isinstance(data, str) else data
    return u(len(data)) + data


def listed(items):
    items = list(items)
    return u(len(items)) + b"".join(items)


def option(data):
    return b"\0" if data is None else b"\1" + data


def value(v):
    match v:
        case None:
            return u(0)
        case int():
            return u(1) + signed(v)
        case float():
            return u(2) + struct.pack("<d", v)
        case str():
            return u(3) + string(v)
    return u(4) + string(v)


def values(row):
    return listed(value(v) for v in row)


# A key, whose bytes sort (the same, at the end of Tables of the engine).


def key(row):
    return b"".join(map(key_part, row))


def key_part(v):
    if isinstance(v, float) and v.is_integer() and -(2**63) <= v < 2**63:
        v = int(v)
    match v:
        case None:
            return b"\0"
        case int():
            size = (abs(v).bit_length() + 7) // 8
            sign = -1 if v < 0 else 1
            digits = be(abs(v), size)
            return bytes([0x10 + sign * size]) + bytes(b ^ 0xFF if v < 0 else b for b in digits)
        case float():
            return b"\x20" + struct.pack(">d", v)
        case str():
            return b"\x30" + v.encode().replace(b"\0", b"\0\xff") + b"\0\0"
    return b"\x40" + v.replace(b"\0", b"\0\xff") + b"\0\0"


# Clocks, conflicts and names.


def stamp(hlc, origin, seq):
    return u(hlc) + u(origin) + u(seq)


def clock(generation, row, columns=()):
    return u(generation) + stamp(*row) + listed(u(c) + stamp(*s) for c, s in columns)


def conflict_id(table, row, column, winner, loser, lost):
    out = b""
    for part in (table.encode(), row, column.encode()):
        out += be(len(part), 4) + part
    for version in (winner, loser):
        out += b"".join(map(be, version))
    return sha256(out, lost)[:16]


def named(parts):
    texts = [part.encode() for part in parts]
    return sha256(*(be(len(text)) + text for text in texts))


def declaration(kind, words, keys="Natural", table="", lives=0):
    """An id from tokens with a space between, of which none has one in it."""
    parts = [str(table), kind, keys, str(lives), *words.split(" ")]
    return int.from_bytes(named(parts)[:6], "big")


def own(kind, name):
    return int.from_bytes(named(["appliance", kind, name.lower()])[:6], "big")


def block(incarnation, number):
    first = sha256(b"tutti block", be(incarnation), be(number))[:8]
    return max(int.from_bytes(first, "big") >> 25, 1)


# Transactions.


def insert(k, generation, row):
    return values(k) + u(generation) + u(0) + values(row)


def update(k, generation, cells):
    return values(k) + u(generation) + u(1) + listed(u(c) + value(v) for c, v in cells)


def delete(k, generation):
    return values(k) + u(generation) + u(2)


def rows(*tables):
    return u(0) + listed(u(table) + listed(changes) for table, *changes in tables)


def schema(sql, keys, number, on=()):
    return u(1) + string(sql) + u(keys) + u(number) + listed(map(u, on))


def lost(*entries):
    def one(table, row, column, winner, loser, held):
        texts = string(table) + string(row) + string(column)
        return texts + stamp(*winner) + stamp(*loser) + string(held)

    return u(2) + listed(one(*entry) for entry in entries)


def transaction(later, node, deps, body):
    names = listed(u(origin) + u(seq) + tag for origin, seq, tag in deps)
    return u(later) + option(node) + names + body


# Digests: a table is a list of rows, each of all its columns, in key order.


def hashed(v):
    match v:
        case None:
            number, data = 0, b""
        case int():
            number, data = 1, v.to_bytes(8, "big", signed=True)
        case float():
            number, data = 2, struct.pack(">d", v)
        case str():
            number, data = 3, v.encode()
        case _:
            number, data = 4, v
    return bytes([number]) + be(len(data)) + data


def table_digest(table):
    return sha256(*(hashed(v) for row in table for v in row))


def all_digest(tables):
    ordered = sorted(tables.items(), key=lambda table: table[0].encode())
    return sha256(*(hashed(name) + table_digest(table) for name, table in ordered))


def range_digest(living):
    """Of (encoded key, clock record, values or None)."""
    out = b""
    for row, record, held in sorted(living):
        content = bytes(32) if held is None else sha256(held)
        out += be(len(row), 4) + row + sha256(record) + content
    return sha256(out)
