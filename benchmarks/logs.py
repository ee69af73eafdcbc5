"""How fast logs are read: ``python -m benchmarks.logs OUT.json``; ``--rows 100000`` in seconds.

A CSV of slates of five with ids, times, positions, clicks, dwell and price is written to a temporary folder and read by a process
of its own, which reports its seconds and the most memory that it held. The file is an object::

    {"rows": ..., "file_bytes": ..., "seconds": ..., "cpu_seconds": ..., "rows_per_second": ..., "peak_bytes": ..., "users": ..., "items": ..., "cpus": ...}
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from recgym.files import write_atomically
from recgym.logs.needs import need_polars

SLATE, USERS, ITEMS = 5, 100_000, 20_000
CHUNK = 1_000_000  # rows that are made at a time
START = 1_700_000_000  # seconds since 1970


def write(file: Path, rows: int, seed: int = 0, quoted: bool = False) -> None:
    """Write such a file; `quoted`: with its ids between double quotes."""
    pl = need_polars()
    rng = np.random.default_rng(seed)
    with file.open("wb") as stream:
        for start in range(0, rows, CHUNK):
            n = min(CHUNK, rows - start)
            slate = (start + np.arange(n)) // SLATE
            by_slate = np.random.default_rng([seed, start])
            user = by_slate.integers(0, USERS, n)[(np.arange(n) // SLATE) * SLATE]
            seconds = START + slate * 3
            click = rng.random(n) < 0.1
            frame = pl.DataFrame(
                {
                    "user_id": [f"u{k}" for k in user.tolist()], "item_id": [f"i{k}" for k in rng.integers(0, ITEMS, n).tolist()],
                    "timestamp": pl.Series(seconds * 1_000_000).cast(pl.Datetime("us")), "impression_id": slate,
                    "position": np.arange(start, start + n) % SLATE + 1, "click": click.astype(np.int8),
                    "dwell_seconds": np.where(click, rng.exponential(30.0, n).round(2), np.nan),
                    "price": rng.lognormal(3.0, 0.5, n).round(2),
                }
            )  # fmt: skip
            frame = frame.with_columns(pl.col("dwell_seconds").fill_nan(None))
            style = "non_numeric" if quoted else "necessary"
            frame.write_csv(stream, include_header=start == 0, datetime_format="%Y-%m-%d %H:%M:%S", quote_style=style)


def measure(file: Path) -> dict[str, Any]:
    """Read a file in this process: seconds, and the most memory that the process held."""
    from recgym.logs import read

    start, used = time.perf_counter(), time.process_time()
    logs = read("csv", file)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "rows": len(logs), "file_bytes": file.stat().st_size, "seconds": round(seconds, 2), "cpu_seconds": round(used, 2), "users": logs.n_users,
        "rows_per_second": round(len(logs) / seconds), "peak_bytes": peak, "items": logs.n_items, "cpus": os.cpu_count(),
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Write a file, read it in another process, and print or write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.logs", description="How fast logs are read")
    parser.add_argument("output", nargs="?", help="file for the measurements")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--quoted", action="store_true", help="ids between double quotes, which are read row by row")
    parser.add_argument("--read", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.read:
        print(json.dumps(measure(Path(options.read))))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "events.csv"
        write(file, options.rows, quoted=options.quoted)
        command = [sys.executable, "-m", "benchmarks.logs", "--read", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    if options.output:
        write_atomically(options.output, (json.dumps(found, indent=1) + "\n").encode())
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
