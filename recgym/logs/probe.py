"""A first look at Parquet files by another process.

polars trusts the sizes that a Parquet file gives, and a forged or torn one can end the process that reads it: there is no
exception to catch. So a file is read by a helper first, and by this process if the helper has survived. The helper is started
when it is needed, reads one file after the other, and ends with this process.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

HELPER = """
import json, sys
import polars as pl
print("ready", flush=True)
for line in sys.stdin:
    path, columns = json.loads(line)
    try:
        scan = pl.scan_parquet(path, glob=False)
        scan.select(pl.len()).collect() if columns is None else scan.select(columns).collect()
        answer = None
    except BaseException as error:
        answer = (str(error).strip().splitlines() or [type(error).__name__])[0]
    print(json.dumps(answer), flush=True)
"""


class _Helper:
    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def _started(self) -> subprocess.Popen[str] | None:
        """The helper; None where there can be none, such as in a program that is no Python interpreter."""
        if self._process is not None and self._owner == os.getpid() and self._process.poll() is None:
            return self._process
        self.end()
        if not sys.executable:
            return None
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        try:
            command = [sys.executable, "-P", "-c", HELPER]
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, text=True, encoding="utf-8")
        except OSError:
            return None
        self._process, self._owner = process, os.getpid()
        if process.stdout is None or process.stdout.readline().strip() != "ready":
            self.end()
            return None
        return process

    def look(self, path: Path, columns: Sequence[str] | None) -> str | None:
        with self._lock:
            process = self._started()
            if process is None or process.stdin is None or process.stdout is None:
                return None
            try:
                process.stdin.write(
                    json.dumps([str(path.absolute()), None if columns is None else list(columns)]) + "\n"
                )
                process.stdin.flush()
                answer = process.stdout.readline()
            except OSError:
                answer = ""
            if not answer:
                self.end()
                return "a process that tried to read it did not survive"
            return json.loads(answer)

    def end(self) -> None:
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue
        process.wait()


_helper = _Helper()
atexit.register(_helper.end)


def look(path: Path, columns: Sequence[str] | None = None) -> str | None:
    """Why a Parquet file cannot be read, in words; None if it can, or if there can be no helper.

    Args:
        path: of the file. columns: that will be read; None: none, only what the file says of itself.
    """
    return _helper.look(path, columns)
