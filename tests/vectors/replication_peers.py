"""Two systems that write, exchange and write on, a third that issues again what it wrote, and a
fourth that has other tables: their logs, row clocks, inboxes, parked rows and digests, for
replication.py.
"""

from replication_encoding import *

WALL = 1_700_000_000_000
# Numbers of tables in one database: the engine's two, the software's own, then as declared.
ITEM_NUMBER = 4


class Peer:
    """One incarnation: its log, and the stamp of each transaction."""

    def __init__(self, name, origin, node, put):
        self.name, self.origin, self.node, self.put = name, origin, node, put
        self.hlc, self.seq, self.chain = 0, 0, bytes(32)

    def seen(self):
        return (self.origin, self.seq, self.chain[:8])

    def write(self, hlc, body, deps=()):
        first = self.seq == 0
        data = transaction(hlc - self.hlc, self.node if first else None, deps, body)
        self.hlc, self.seq = hlc, self.seq + 1
        self.chain = sha256(self.chain, data)
        self.put(f"log.{self.name}.{self.seq}", data)
        self.put(f"chain.{self.name}.{self.seq}", self.chain)
        return (self.hlc, self.origin, self.seq)


ITEM_SQL = """CREATE TABLE IF NOT EXISTS "Item" (
  k TEXT NOT NULL, n INTEGER NOT NULL, v, /* any */ r REAL CHECK (r <= 1.5e3),
  g AS (r * 2), [b] BLOB DEFAULT x'00ff', t TEXT DEFAULT 'it''s', PRIMARY KEY (k, n) -- key
);"""
ITEM_WORDS = (
    "Item ( k TEXT NOT NULL , n INTEGER NOT NULL , v , r REAL CHECK ( r < = 1 . 5e3 ) ,"
    " g AS ( r * 2 ) , b BLOB DEFAULT x '00ff' , t TEXT DEFAULT 'it's' , PRIMARY KEY ( k , n ) )"
)
INDEX_SQL = 'create unique index "Item_V" on `Item`(v);'
CHILD_SQL = (
    "CREATE TABLE child(id INTEGER PRIMARY KEY, k TEXT, n INTEGER, x, "
    'FOREIGN KEY (k, n) REFERENCES "Item"(k, n))'
)
CHILD_WORDS = (
    "child ( id INTEGER PRIMARY KEY , k TEXT , n INTEGER , x , "
    "FOREIGN KEY ( k , n ) REFERENCES Item ( k , n ) )"
)
MADE_SQL = "CREATE TABLE made(id INTEGER PRIMARY KEY, x)"
TRIGGER_SQL = "CREATE TRIGGER Touch AFTER DELETE ON made BEGIN DELETE FROM made WHERE id = 0; END"
TRIGGER_WORDS = "Touch AFTER DELETE ON made BEGIN DELETE FROM made WHERE id = 0 ; END"


def claim(*parts):
    return sha256(*(be(len(part), 4) + part for part in parts))[:16]


def rank(version, row):
    return b"".join(map(be, version)) + key(row)


def two(put):
    a = Peer("a", 0xFEDCBA9876543210, bytes.fromhex("00112233445566778899aabbccddeeff"), put)
    b = Peer("b", 0x0123456789ABCDEF, bytes(range(0xA0, 0xB0)), put)
    wall = WALL << 16

    def of_a(body, deps=()):
        """A clock that stands still counts on."""
        return a.write(max(wall, a.hlc + 1), body, deps)

    own_table, blocks = own("table", "own"), own("table", "_tutti_block")
    item = declaration("table", ITEM_WORDS)
    index = declaration("index", "UNIQUE Item_V on Item ( v )", table=item)
    child = declaration("table", CHILD_WORDS)
    made = declaration("table", "made ( id INTEGER PRIMARY KEY , x )", keys="Engine")
    trigger = declaration("trigger", TRIGGER_WORDS, table=made)
    again = declaration("trigger", TRIGGER_WORDS, table=made, lives=1)
    of_a(schema(ITEM_SQL, 0, item))
    of_a(schema(INDEX_SQL, 0, index, [item]))
    of_a(schema(CHILD_SQL, 0, child))
    of_a(schema(MADE_SQL, 1, made))
    of_a(schema(TRIGGER_SQL, 0, trigger, [made]))
    of_a(schema("DROP TRIGGER touch", 0, 0, [trigger]))
    of_a(schema(TRIGGER_SQL, 0, again, [made]))
    declared = {
        "table.own.0": own_table, "table.item.0": item, "index.item_v.0": index,
        "table.child.0": child, "table.made.0": made, "trigger.touch.1": trigger,
        "trigger.touch.0": again,
    }  # fmt: skip
    for name, number in declared.items():
        put(f"declared.{name}", be(number))

    odd, plain, text = ["k\0\u00e9", -300], ["Ab ", 7], ["15.50", -1]
    odd_row = odd + [None, 2.5, b"\0\xff\x10", "text"]
    plain_row = plain + [70, None, None, None]
    text_row = text + ["v", -0.5, b"", ""]
    a8 = of_a(rows((item, *(insert(row[:2], 1, row) for row in (odd_row, plain_row, text_row)))))
    a9 = of_a(rows((item, update(odd, 1, [(2, 1.5), (4, None)]))))
    odd_row[2], odd_row[4] = 1.5, None
    own_rows = {number: [number, 10 * number] for number in range(5, 13)}
    a10 = of_a(rows((own_table, *(insert([n], 1, row) for n, row in own_rows.items()))))
    of_a(rows((own_table, delete([7], 2))))
    own_rows[7] = [7, "again"]
    a12 = of_a(rows((own_table, insert([7], 3, own_rows[7]))))
    own_rows[8][1] = "own"
    a13 = of_a(rows((own_table, update([8], 1, [(1, "own")]))))
    drawn = block(a.origin, 0)
    number = drawn << 24 | 1
    claimed = insert([drawn], 1, [drawn, a.node])
    a14 = of_a(rows((made, insert([number], 1, [number, "m"])), (blocks, claimed)))

    # Both write, without having heard of each other.
    common = a.seen()
    a15 = of_a(rows((own_table, update([5], 1, [(1, "a")]))))
    x_row = ["x", 1, 99, None, None, None]
    a16 = of_a(rows((item, insert(x_row[:2], 1, x_row))))
    a17 = of_a(rows((item, delete(text, 2))))
    later = (WALL + 1) << 16
    b1 = b.write(later, rows((own_table, update([5], 1, [(1, "b")]))), [common])
    y_row = ["y", 2, 99, None, None, None]
    b2 = b.write(later + 1, rows((item, insert(y_row[:2], 1, y_row))))
    child_row = [2, *text, "c"]
    b3 = b.write(later + 2, rows((child, insert([2], 1, child_row))))
    # They have exchanged that: what each writes now names what it had seen.
    own_rows[5][1] = "b"
    a18 = of_a_later(a, b, rows((made, update([number], 1, [(1, "n")]))))
    own_rows[9][1] = 2.5
    b4 = b.write(a.hlc + 1, rows((own_table, update([9], 1, [(1, 2.5)]))), [a.seen()])

    clocks = {
        ("Own", (5,)): clock(1, a10, [(1, b1)]),
        ("Own", (7,)): clock(3, a12),
        ("Own", (8,)): clock(1, a10, [(1, a13)]),
        ("Own", (9,)): clock(1, a10, [(1, b4)]),
        ("Item", tuple(odd)): clock(1, a8, [(2, a9), (4, a9)]),
        ("Item", tuple(plain)): clock(1, a8),
        ("Item", tuple(text)): clock(2, a17),
        ("Item", ("x", 1)): clock(1, a16),
        ("Item", ("y", 2)): clock(1, b2),
        ("child", (2,)): clock(1, b3),
        ("made", (number,)): clock(1, a14, [(1, a18)]),
        ("_tutti_block", (drawn,)): clock(1, a14),
    }
    for (table, row), record in clocks.items():
        put(f"clock.{table}.{key(row).hex()}", record)
    put("run.Own.5.12", b"".join(map(be, a10)))
    put("deps.a", listed([u(b.origin) + u(3)]))
    put("deps.b", listed([u(a.origin) + u(18)]))

    held = values(["a"])
    put("lost.id", conflict_id("Own", key([5]), "x", b1, a15, held))
    for name, data in (("winner", stamp(*b1)), ("loser", stamp(*a15)), ("value", held)):
        put(f"lost.{name}", data)
    put("hidden.UNIQUE", values(x_row))
    put("hidden.FOREIGN_KEY", values(child_row))
    unique = claim(b"UNIQUE", be(ITEM_NUMBER), b"Item_V", key([99]))
    put("claim.UNIQUE", unique + rank(a16, x_row[:2]))
    parent = claim(b"FOREIGN KEY", b"item", b"k\0n", key([15.5, -1.0]))
    put("claim.FOREIGN_KEY", parent + key([2]))

    tables = {
        "Own": [own_rows[n] for n in sorted(own_rows)],
        "Item": [plain_row, odd_row, y_row],
        "child": [],
        "made": [[number, "n"]],
        "_tutti_block": [[drawn, a.node]],
        "_tutti_dismissed": [],
    }
    for name, table in tables.items():
        put(f"digest.{name}", table_digest(table))
    put("digest", all_digest(tables))

    run = {("Own", (n,)): clock(1, a10) for n in own_rows}
    keys = {"Own": 1, "Item": 2, "child": 1, "made": 1, "_tutti_block": 1}
    tables["Item"].append(x_row)
    tables["child"].append(child_row)
    for name, size in keys.items():
        living = [(tuple(row[:size]), row) for row in tables[name]]
        records = {row: (run | clocks)[name, row] for row, _ in living}
        put(f"range.{name}", range_digest((key(k), records[k], values(r)) for k, r in living))
    # Of what both held before the last two transactions, rows of these are beyond.
    before = [(n, row) for n, row in own_rows.items() if n != 9]
    records = {n: (run | clocks)["Own", (n,)] for n, _ in before}
    put("range.Own.before", range_digest((key([n]), records[n], values(r)) for n, r in before))
    put("range.made.before", range_digest([]))


def of_a_later(a, b, body):
    """After what it took in, and naming it."""
    return a.write(b.hlc + 1, body, [b.seen()])


def again(put):
    node, wall = bytes(range(0xC0, 0xD0)), WALL << 16
    c, fresh = Peer("c", 7, node, put), Peer("fresh", 0x8877665544332211, node, put)
    table = declaration("table", "t ( id INTEGER PRIMARY KEY , x )")
    index = declaration("index", "i ON t ( x )", table=table)
    c.write(wall, schema("CREATE TABLE t(id INTEGER PRIMARY KEY, x)", 0, table))
    kept = c.seen()
    c.write(wall + 1, rows((table, insert([1], 1, [1, "x"]))))
    made = schema("CREATE INDEX i ON t(x)", 0, index, [table])
    c.write(wall + 2, made)
    c.write(wall + 3, rows((table, insert([2], 1, [2, "y"]))))
    # All but the first, again: each names the one before it, of which the first has none.
    fresh.write(wall + 1, made, [kept, fresh.seen()])
    both = rows((table, insert([1], 1, [1, "x"]), insert([2], 1, [2, "y"])))
    fresh.write(wall + 2, both, [fresh.seen()])


def strange(put):
    """What arrives from a system 5 at one that has another table `t`, and nothing of the rest."""
    d = Peer("strange", 5, bytes(16), put)
    ours = declaration("table", "t ( id INTEGER PRIMARY KEY , x )")
    sql = "CREATE TABLE T(id INTEGER PRIMARY KEY, y)"
    theirs = declaration("table", "T ( id INTEGER PRIMARY KEY , y )")
    # It is of an earlier time, so it takes the name.
    d.write(1, schema(sql, 0, theirs))
    unknown = 0x00BCDEF01234
    inserted, updated = insert([1], 1, [1, None]), update(["b"], 1, [(3, "c"), (4, b"d")])
    version = d.write(2, rows((unknown, inserted, updated), (theirs, insert([1], 1, [1, "y"]))))
    entries = [
        ("item", key([5]), "a", (2**60, 9, 7), (5, 2**63, 300), values(["lost"])),
        ("", key(["sql"]), "*", (1, 2, 3), (1, 2, 3), values(["sql", "why"])),
    ]
    d.write(2**40, lost(*entries))
    name = f"{unknown:012x}"
    for k, held in ([1], [1, None]), (["b"], ["c", b"d"]):
        entries.append((name, key(k), "*", version, version, values(held)))
    for entry in entries:
        put(f"kept.{conflict_id(*entry).hex()}", entry[5])
    shelf = f"_tutti_shelf_{ours:012x}"
    put("shelf.name", shelf.encode())
    tables = {"T": [[1, "y"]], shelf: [[1, "x"]], "_tutti_block": [], "_tutti_dismissed": []}
    put("shelf.digest", all_digest(tables))


def main(put):
    two(put)
    again(put)
    strange(put)
