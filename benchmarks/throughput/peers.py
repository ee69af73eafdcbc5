"""Other packages, each in a virtual environment of its own, measured in turn with recgym's counterparts."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import tempfile
import threading
import venv
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import THREAD_VARIABLES
from recgym.errors import RecgymError
from recgym.files import cache_folder

WORKER = Path(__file__).parent / "worker.py"
START_SECONDS = 600  # that a worker may take to import its package and to compile
INSTALL_SECONDS = 3600
ANSWER_SECONDS = 120  # that an answer may take beyond the seconds asked for


class Peer(NamedTuple):
    """A package and what is compared with it.

    Attributes:
        tasks: what `worker.py` measures of it. id, options: recgym's counterpart. users: in its batches, 0 for single.
        requirements: every package of its environment, pinned; pip looks for no others.
        differs: what is not the same on both sides.
    """

    tasks: tuple[str, ...]
    id: str
    options: dict[str, Any]
    users: tuple[int, ...]
    requirements: str
    differs: str


PEERS = {
    "sardine": Peer(
        ("SlateTopK-BoredInf",),
        "recgym/Sardine-SlateTopK-BoredInf-v0",
        {},
        (0, 1024),
        "sardine-rec==1.0.8 gymnasium==1.4.0 numpy==2.4.6 cloudpickle==3.1.3 Farama-Notifications==0.0.6 "
        "typing_extensions==4.16.0",
        "An item that is repeated in a slate may be clicked twice there, once here.",
    ),
    "recsim": Peer(
        ("interest_evolution",),
        "recgym/InterestEvolution-v0",
        {},
        (0, 1024),
        "recsim==0.2.4 gym==0.26.2 gym-notices==0.1.0 cloudpickle==3.1.3 numpy==1.26.4 scipy==1.17.1 "
        "gin-config==0.5.0 absl-py==2.5.1 six==1.17.0",
        "Candidates are new documents there, items of a catalogue here. Its training, which needs TensorFlow, is left out.",
    ),
    "recogym": Peer(
        ("reco-gym-v1",),
        "recgym/RecoGym-v1",
        {},
        (0, 1024),
        "recogym==0.1.3.0 gym==0.26.2 gym-notices==0.1.0 cloudpickle==3.1.3 numpy==1.26.4 scipy==1.17.1 numba==0.68.1 "
        "llvmlite==0.50.0 pandas==3.0.6 python-dateutil==4.0.0 six==1.17.0 tzdata==2026.6 tqdm==4.70.1",
        "The observation is a list of views there, the last ten and the counts of all here.",
    ),
    "recsim-ng": Peer(
        ("a step a call", "a step a call, XLA", "100 steps a call", "100 steps a call, XLA"),
        "recgym/InterestEvolution-v0",
        {"slate_size": 2, "items": 5, "candidates": "all", "observation": "compact"},
        (1000,),
        "recsim-ng==0.1.2 tensorflow-cpu==2.21.0 tf-keras==2.21.0 tensorflow-probability==0.25.0 edward2==0.0.2 "
        "numpy==2.4.6 gin-config==0.5.0 gym==0.26.2 gym-notices==0.1.0 absl-py==2.5.1 astunparse==1.6.3 attrs==26.1.0 "
        "certifi==2026.10.19.post1 charset-normalizer==3.5.3 cloudpickle==3.1.3 decorator==5.3.1 dm-tree==0.1.10 "
        "flatbuffers==25.12.19 gast==0.7.0 google-pasta==0.2.0 grpcio==1.85.3 h5py==3.14.0 idna==3.20 keras==3.15.1 "
        "libclang==18.1.1 markdown-it-py==4.3.0 mdurl==0.1.2 ml_dtypes==0.6.0 namex==0.1.0 opt_einsum==3.4.0 "
        "optree==0.20.0 packaging==26.4 protobuf==7.36.2 Pygments==2.21.0 requests==2.34.2 rich==15.0.0 six==1.17.0 "
        "termcolor==3.3.0 typing_extensions==4.16.0 urllib3==2.8.0 wrapt==2.5.2",
        "Both: 1000 users, 100 items all of which can be shown, slates of 2. There: two topics, histories of 15, no "
        "profile in the observation, no resets; random slates are drawn inside its graph, and with 100 steps a call "
        "no agent sees the steps between. Here: twenty topics, histories of ten, resets.",
    ),
}


class NotRun(RecgymError):
    """A peer that cannot be installed, started or measured; the message says why, in a line."""


def python_of(name: str, folder: Path | None, progress: Callable[[str], None]) -> Path:
    """The interpreter of a peer's environment, which is made where it is missing or its requirements changed.

    Args:
        name: of `PEERS`. folder: of one folder for each peer, kept from run to run; None: `peers` in recgym's folder of
            caches. progress: told when something is installed.

    Raises:
        NotRun: it cannot be installed.
    """
    wanted = PEERS[name].requirements.split()
    try:
        place = (folder or cache_folder() / "peers").absolute() / name
        python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        stamp = place / "requirements.json"
        if not (python.exists() and stamp.is_file() and json.loads(stamp.read_text()) == wanted):
            progress("installing")
            venv.create(place, clear=True, with_pip=True)
            command = [python, "-I", "-m", "pip", "install", "-q", "--no-deps", *wanted]
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
            if done.returncode:
                raise NotRun(f"cannot be installed: {last_line(done.stderr)}")
            stamp.write_text(json.dumps(wanted))
    except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
        raise NotRun(f"cannot be installed: {last_line(str(error))}") from None
    return python


class Worker:
    """A process that measures a peer, see `worker.py`.

    Args:
        name: of `PEERS`. python: the interpreter of its environment.

    Attributes:
        versions: of the packages that matter, by name.

    Raises:
        NotRun: it does not start.
    """

    def __init__(self, name: str, python: Path) -> None:
        environment = {key: value for key, value in os.environ.items() if key not in THREAD_VARIABLES}
        if "tensorflow" not in PEERS[name].requirements:  # NumPy's own threads only slow down vectors this short
            environment |= dict.fromkeys(THREAD_VARIABLES, "1")
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self.process = subprocess.Popen([python, "-I", WORKER, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.log, text=True, env=environment)  # fmt: skip
        self.lines: queue.Queue[str] = queue.Queue()
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()
        self.versions: dict[str, str] = self._answer(START_SECONDS)

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")  # it has ended

    def _answer(self, seconds: float) -> Any:
        try:
            return json.loads(self.lines.get(timeout=seconds))
        except queue.Empty:
            reason = f"no answer within {seconds:.0f} s"
        except ValueError:
            self.process.wait(10)
            self.log.seek(0)
            reason = last_line(self.log.read().decode(errors="replace"))
        self.close()
        raise NotRun(f"does not run: {reason}")

    def measure(self, task: str, seconds: float) -> float:
        """User-steps per second of a window.

        Raises:
            NotRun: it has ended, or does not answer.
        """
        assert self.process.stdin is not None
        with suppress(OSError):  # it has ended: the answer says why
            self.process.stdin.write(json.dumps([task, seconds]) + "\n")
            self.process.stdin.flush()
        steps, passed = self._answer(seconds + ANSWER_SECONDS)
        return steps / passed

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.thread.join()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            with suppress(OSError):  # what could not be written to a process that had ended
                if stream is not None:
                    stream.close()


def last_line(text: str, most: int = 200) -> str:
    """The last line that is not empty, which in an error is the reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "".join(c if c.isprintable() else "?" for c in lines[-1][:most]) if lines else "no reason given"
