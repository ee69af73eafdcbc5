"""Trainings that go on where they were interrupted, to the same last digit."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from recgym.errors import ConfigError
from recgym.files import arrays_as_bytes, parse_arrays, write_atomically

if TYPE_CHECKING:
    from recgym.fit.taste import Data

SECONDS = 30.0  # between two savings


class Checkpoints:
    """A folder with the state of each training, under a name that follows from its data and settings.

    Another training, of other data or settings, has another name, so that a state is never taken for that of another.

    Args:
        folder: is made when the first state is saved. seconds: between two savings of one training, which has a last one at its end.
    """

    def __init__(self, folder: str | os.PathLike[str], seconds: float = SECONDS) -> None:
        self.folder, self.seconds = Path(folder), seconds
        self._last = time.monotonic()

    def of(self, data: Data, users: NDArray[np.int64], settings: tuple[Any, ...]) -> Path:
        """The file of a training."""
        digest = hashlib.sha256(repr((settings, torch.__version__)).encode())
        for x in (
            data.item,
            data.there,
            data.click,
            data.feature,
            data.offset,
            data.user,
            data.profile,
            data.known,
            data.attributes,
            data.embedding,
        ):
            digest.update(
                b"-" if x is None else repr(tuple(x.shape)).encode() + np.ascontiguousarray(x.numpy()).tobytes()
            )
        digest.update(np.ascontiguousarray(users).tobytes())
        return self.folder / f"{digest.hexdigest()[:32]}.npz"

    def save(self, file: Path, epoch: int, last: bool, model: torch.nn.Module, optimiser: torch.optim.Optimizer,
             rng: np.random.Generator, generator: torch.Generator) -> None:  # fmt: skip
        """Save a state, if it is the last or time has passed."""
        if not last and time.monotonic() - self._last < self.seconds:
            return
        arrays = {f"model/{name}": x.detach().numpy() for name, x in model.state_dict().items()}
        for k, state in optimiser.state_dict()["state"].items():
            arrays |= {f"adam/{k}/{name}": x.detach().numpy() for name, x in state.items()}
        state = rng.bit_generator.state
        words = [*_words(state["state"]["state"]), *_words(state["state"]["inc"])]
        arrays |= {"epoch": np.array(epoch), "torch": generator.get_state().numpy(), "numpy": np.array(words, np.uint64),
                   "rest": np.array([state["has_uint32"], state["uinteger"]], np.uint64)}  # fmt: skip
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(file, arrays_as_bytes(arrays))
        self._last = time.monotonic()

    def load(self, file: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer, rng: np.random.Generator,
             generator: torch.Generator) -> int:  # fmt: skip
        """Take up a state; the number of epochs done, 0 where there is no state that can be read."""
        try:
            arrays = parse_arrays(file.read_bytes(), "checkpoint", file)
        except (OSError, ConfigError):
            return 0
        states: dict[int, dict[str, torch.Tensor]] = {}
        for name, x in arrays.items():
            if name.startswith("adam/"):
                _, k, what = name.split("/")
                states.setdefault(int(k), {})[what] = torch.from_numpy(x.copy())
        wanted = {f"model/{name}": tuple(x.shape) for name, x in model.state_dict().items()}
        if {name: x.shape for name, x in arrays.items() if name.startswith("model/")} != wanted or not {
            "epoch", "torch", "numpy", "rest"} <= {*arrays}:  # fmt: skip
            return 0
        model.load_state_dict({name.removeprefix("model/"): torch.from_numpy(arrays[name].copy()) for name in wanted})
        optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
        generator.set_state(torch.from_numpy(arrays["torch"].copy()))
        words, rest = [int(x) for x in arrays["numpy"]], arrays["rest"]
        state = {"state": words[0] | words[1] << 64, "inc": words[2] | words[3] << 64}
        rng.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": state,
            "has_uint32": int(rest[0]),
            "uinteger": int(rest[1]),
        }
        return int(arrays["epoch"])

    def clear(self) -> None:
        """Remove the folder and all states."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _words(number: int) -> tuple[int, int]:
    """The lower and upper 64 bits."""
    return number & (2**64 - 1), number >> 64
