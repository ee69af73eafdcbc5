"""Agents that tests run in other processes; a module that loads little, as each process loads it."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from pathlib import Path

from baselines.agent import OnlineAgent


@dataclasses.dataclass
class First(OnlineAgent):
    """Shows the first candidate; learns nothing, with pauses (seconds)."""

    pause: float = 0.0

    def learn(self, *transition) -> None:
        time.sleep(self.pause)

    def act(self, observation, mask, explore=False):
        return mask.argmax(axis=1)


@dataclasses.dataclass
class Fragile(First):
    """Fails where a file is missing."""

    file: str = ""

    def act(self, observation, mask, explore=False):
        if not Path(self.file).exists():
            raise RuntimeError("no [file]")
        return super().act(observation, mask, explore)


@dataclasses.dataclass
class Mortal(First):
    """Acts only once its process has been killed `deaths` times, which a file counts."""

    file: str = ""
    deaths: int = 0

    def act(self, observation, mask, explore=False):
        died = Path(self.file).stat().st_size if Path(self.file).exists() else 0
        if died < self.deaths:
            with open(self.file, "a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().act(observation, mask, explore)


@dataclasses.dataclass
class Counted(First):
    """Writes a line to a file whenever it is trained."""

    file: str = ""

    def fit(self, task, steps, seed=0, progress=None):
        with open(self.file, "a") as file:
            file.write(f"{seed}\n")
        super().fit(task, steps, seed, progress)


@dataclasses.dataclass
class Computing(First):
    """Computes on a device, or says so."""

    device: str = "cpu"
