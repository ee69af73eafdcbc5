"""What agents require of their hyper-parameters, of envs, of observations and of arrays that they read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from recgym.envs import RecVectorEnv
from recgym.errors import ConfigError, require, unknown
from recgym.observations import Layout

Made = TypeVar("Made")


def require_users(env: Any) -> None:
    """Raise a ConfigError unless it is a batch of users of recgym."""
    rule = "must be a batch of users, which gymnasium.make_vec and Task.make give"
    require(isinstance(env, RecVectorEnv), "env", rule, type(env).__name__)


def require_choices(env: RecVectorEnv, name: str) -> None:
    """Require actions that name candidates, flat observations, and a reward of one number per step.

    Raises:
        ConfigError: actions are embeddings, observations a dict, or rewards vectors; `name` is the agent's.
    """
    require_users(env)
    require(env.actions.indexed, "action", f'{name} needs "item" or "slate"', env.actions.form)
    require(env.observations.form != "dict", "observation", f"{name} needs a flat one", "dict")
    require(not env.vector_reward, "reward", f"{name} needs one number per step", "vector")


def require_batch(observation: Any) -> None:
    """Raise a ConfigError unless it is a batch of flat observations, (B, width)."""
    rule = "must be a batch of flat ones, (B, width); of a single user observation[None]"
    fits = isinstance(observation, np.ndarray) and observation.ndim == 2
    require(fits, "observation", rule, getattr(observation, "shape", type(observation).__name__))


def require_device(parameter: str, device: Any) -> None:
    """Raise a ConfigError unless it names a device as torch does: cpu, cuda, cuda:<n> or mps."""
    known = isinstance(device, str) and re.fullmatch(r"cpu|mps|cuda(:\d{1,3})?", device, re.ASCII)
    require(known, parameter, "must be cpu, cuda, cuda:<n> or mps", device)


def columns_of(layout: Layout, parameter: str, names: Sequence[str]) -> NDArray[np.int64]:
    """Columns of a flat observation, sorted, of blocks ("user") and parts of them ("user.profile").

    Raises:
        ConfigError: no such block or part; `parameter` is what the message calls the names.
    """
    columns: dict[str, NDArray[np.int64]] = {}
    for name, block in layout.items():
        columns[name] = every = np.arange(block.slice.start, block.slice.stop)
        at, every = 0, every.reshape(-1, sum(part.width for part in block.parts))
        for part in block.parts:
            columns[f"{name}.{part.name}"] = every[:, at : (at := at + part.width)].ravel()
    for name in names:
        if name not in columns:
            unknown(parameter, name, columns)
    return np.unique(np.concatenate([columns[name] for name in names]))


def require_array(array: NDArray[Any], name: str, dtype: Any, shape: tuple[int | None, ...]) -> None:
    """Require the type and shape (None: any length) of an array that was read from a file, and finite numbers.

    Raises:
        ConfigError: it is another one; `name` is what the message calls it.
    """
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape))
    sizes = ", ".join("any" if size is None else str(size) for size in shape)
    require(fits, name, f"must have shape ({sizes})", array.shape)
    require(array.dtype == dtype, name, f"must be of type {np.dtype(dtype)}", str(array.dtype))
    require(array.dtype.kind != "f" or np.isfinite(array).all(), name, "must be finite", "NaN or inf")


def instance(found: type[Made], name: str, hyperparameters: dict[str, Any]) -> Made:
    """An agent of a dataclass, with those hyper-parameters; `name` is what messages call it.

    Raises:
        ConfigError: no such hyper-parameter, or one that must be given is not.
    """
    if dataclasses.is_dataclass(found):
        known = [f.name for f in dataclasses.fields(found) if f.init]
        for key in hyperparameters:
            if key not in known:
                unknown(f"{name} hyper-parameter", key, known)
        for f in dataclasses.fields(found):
            if f.init and f.name not in hyperparameters and f.default is f.default_factory is dataclasses.MISSING:
                raise ConfigError(f"{name} hyper-parameter: {f.name!r} must be given")
    return found(**hyperparameters)
