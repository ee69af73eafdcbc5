"""Runs the tests of what every environment promises in this Python's environment, and writes which versions passed.

    python tests/contract.py newest-3.12

writes examples/clients/results/contract/newest-3.12.json. `nox -s contract` does so in one environment after the other.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from importlib.metadata import version
from pathlib import Path

from recgym.files import write_atomically

ROOT = Path(__file__).parents[1]
TESTS = [  # of tests/test_clients.py: Gymnasium's checker, specs, vectorisers, wrappers and conventions, no libraries
    "finds_nothing_in_the_render_modes",
    "passive_checker and News",
    "specs_round_trip",
    "vector_envs_agree",
    "vector_wrappers",
    "list_of_dicts",
    "masked_resets",
    "single_wrappers",
    "gymnasiums_flattening",
    "copied_and_pickled",
    "can_be_closed",
    "is_a_type_error",
    "autoreset_mode_is",
    "call_and_attributes",
    "sampled_by_the_mask",
]


def main(name: str) -> int:
    """Run the tests, write the counts; the exit status of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        line = [sys.executable, "-m", "pytest", "-q", "-n", "0", "tests/test_clients.py", f"--junitxml={report}"]
        line += ["-k", " or ".join(f"({name})" for name in TESTS)]
        status = subprocess.run(line, cwd=ROOT).returncode
        suite = xml.etree.ElementTree.parse(report).getroot().find("testsuite")
        assert suite is not None
        counts = {key: int(suite.attrib[key]) for key in ("tests", "failures", "errors", "skipped")}
    failed = counts["failures"] + counts["errors"]
    result = {
        "passed": counts["tests"] - failed - counts["skipped"],
        "failed": failed,
        "skipped": counts["skipped"],
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("recgym", "gymnasium", "numpy", "numba")},
        },
    }
    path = ROOT / f"examples/clients/results/contract/{name}.json"
    write_atomically(path, (json.dumps(result, indent=2) + "\n").encode())
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
