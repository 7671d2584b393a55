#!/usr/bin/env python3
"""The wide matrix: every firmware with every disk, and everything that goes wrong with a machine.

    matrix.py IMAGE WORK [--part N/M] [--jobs N] [--list] [CASE...]

Each case is a sentence; PASS or FAIL is printed with the seconds that it took. `--part N/M` runs
every M-th case, beginning at the N-th (from 0). Without cases or part all are run. `--jobs N`
runs so many side by side.
"""

import argparse
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import answers
import cuts
import damage
import faults
import firmware
import inputs
import keys
import machine
import moves
import outside
import recovery
import screen
from machine import attempted

CASES = {**firmware.CASES, **keys.CASES, **inputs.CASES, **answers.CASES, **screen.CASES, **outside.CASES,
         **moves.CASES, **faults.CASES, **damage.CASES, **recovery.CASES, **cuts.CASES}


def chosen(options):
    unknown = [name for name in options.cases if name not in CASES]
    if unknown:
        sys.exit(f"matrix: no such case: {', '.join(unknown)}; --list shows all")
    if options.cases:
        return options.cases
    if options.part:
        number, of = (int(word) for word in options.part.split("/"))
        return list(CASES)[number % of::of]
    return list(CASES)


def passes(name, image, work) -> bool:
    sentence, run = CASES[name]
    work = work / name
    began = time.monotonic()
    verdict = f"PASS {name}: {sentence}"
    try:
        attempted(name, run, image, work)
        for disk in work.glob("*.qcow2"):
            disk.unlink()
    # Whatever a case meets is its failure; the others still run.
    except Exception as failure:
        verdict = f"FAIL {name}: {sentence}; see {work}"
        print(f"{traceback.format_exc()}{name}: {failure}", file=sys.stderr)
    print(f"{verdict} ({time.monotonic() - began:.0f} s)", flush=True)
    return verdict.startswith("PASS")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--part")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        for name, (sentence, _) in CASES.items():
            print(f"{name:24}{sentence}")
        return 0
    machine.AT_ONCE = max(machine.AT_ONCE, options.jobs)
    names = chosen(options)
    if len(names) < len(CASES):
        print(f"{len(names)} of {len(CASES)} cases: {' '.join(names)}", flush=True)
    with ThreadPoolExecutor(options.jobs) as lanes:
        passed = list(lanes.map(lambda name: passes(name, options.image, options.work), names))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
