"""recgym is typed for those who use it: a client's strict check passes, and finds what is wrong."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

CLIENT = Path(__file__).parent / "typed_client.py"
WRONG = """
wrong = recgym.load_world("news").arrive("nobody")
env.step(action=None, more=True)
print(feedback.probabilities.upper(), Cascade(patience=1.0))
"""


def test_a_client_is_checked_strictly(tmp_path: Path) -> None:
    pytest.importorskip("pyright")
    text = CLIENT.read_text()
    assert text.count("# pyright: strict") == 1
    # Editable installs find packages by code that a type checker does not run.
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(CLIENT.parent.parent)]}))
    (tmp_path / "right.py").write_text(text)  # away from the checkout and its settings
    (tmp_path / "wrong.py").write_text(text + WRONG)
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    answer = json.loads(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout)
    found = {(Path(error["file"]).name, error["range"]["start"]["line"]) for error in answer["generalDiagnostics"]}
    end = len(text.splitlines())
    assert found == {("wrong.py", end + n) for n in (1, 2, 3)}, answer["generalDiagnostics"]


def test_the_client_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(CLIENT))
    assert "CLICK" in capsys.readouterr().out
