"""What the examples of this folder share: the command line, the score on held-out users, and the file of the result.

    python examples/clients/sb3_dqn.py --steps 50000 --out result.json

None of it is needed to use a library with recgym: that is in the other files, in the function `train`.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import re
import shlex
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import recgym  # noqa: F401  (registers the ids)
from recgym.files import write_atomically

HELD_OUT = 1_000_000  # seed of the first user of the evaluation; training begins with `Trial.seed`
SMALL = {"items": 20, "candidates": "all"}  # of --small: always the same 20 items, at the same places
Policy = Callable[[Any, dict[str, Any]], Any]  # (observations, info) of a batch of users -> their actions


@dataclass(frozen=True)
class Trial:
    """What the command line asks for.

    Attributes:
        id: of the environment. options: keyword arguments of `gymnasium.make`, such as ``{"observation": "dict"}``.
        native: None for environments of one user each, or the autoreset mode of recgym's own vector env.
        steps: of users in training. seed: of the training.
    """

    id: str
    options: dict[str, Any]
    native: str | None
    steps: int
    seed: int


def evaluate(policy: Policy, trial: Trial, users: int) -> np.ndarray:
    """Returns (users,) of one episode each, of users whom no training has met; a step of all of them is one call."""
    env = gym.make_vec(trial.id, num_envs=users, autoreset_mode="Disabled", **trial.options)
    observation, info = env.reset(seed=HELD_OUT)
    returns, over = np.zeros(users), np.zeros(users, bool)
    while not over.all():  # whose episode is over earns 0 from then on
        observation, reward, terminated, truncated, info = env.step(np.asarray(policy(observation, info)))
        returns += reward
        over = terminated | truncated
    env.close()
    return returns


def random_policy(trial: Trial) -> Policy:
    """Different candidates of those that are there, all with the same probability."""
    space = gym.make(trial.id, **trial.options).action_space
    rng = np.random.default_rng(0)

    def policy(_: Any, info: dict[str, Any]) -> Any:
        there = info["action_mask"] > 0
        order = np.argsort(-(rng.random(there.shape) + there), axis=1)
        return order[:, : len(space.nvec)] if isinstance(space, gym.spaces.MultiDiscrete) else order[:, 0]

    return policy


def interval(values: np.ndarray) -> dict[str, float]:
    """The mean, and the half-width of its 95 % interval (normal)."""
    half = 1.96 * values.std(ddof=1) / len(values) ** 0.5
    return {"mean": round(float(values.mean()), 3), "half_width": round(float(half), 3)}


def run(train: Callable[[Trial], Policy], packages: list[str], steps: int, native: str | None = None) -> None:
    """Read the command line, train, score, print, and write the result where ``--out`` says.

    Args:
        train: gives the policy that it has trained. packages: whose versions the result names, beside those that recgym
            needs.
        steps, native: the defaults of ``--steps`` and ``--native``.
    """
    parser = argparse.ArgumentParser(
        description=sys.modules[train.__module__].__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--id", default="recgym/Ecommerce-v0", help="of the environment (default: %(default)s)")
    parser.add_argument("--observation", choices=["flat", "dict"], default="flat")
    parser.add_argument(
        "--native",
        metavar="MODE",
        default=native,
        choices=["NextStep", "SameStep", "Disabled"],
        help="train on recgym's own vector env in this autoreset mode (default: %(default)s, where None stands for "
        "environments of one user)",
    )
    parser.add_argument("--small", action="store_true", help=f"a world with {SMALL}, which generic networks can learn")
    parser.add_argument("--steps", type=int, default=steps, help="of users in training (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the training (default: %(default)s)")
    parser.add_argument("--users", type=int, default=1000, help="of the evaluation (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where the result is written")
    given = parser.parse_args()
    options = (SMALL if given.small else {}) | ({"observation": "dict"} if given.observation == "dict" else {})
    trial = Trial(given.id, options, given.native, given.steps, given.seed)
    quieten()
    torch.set_num_threads(1)  # these networks are small: several threads would wait for each other

    begun = time.perf_counter()
    policy = train(trial)
    seconds = time.perf_counter() - begun
    earned, random = evaluate(policy, trial, given.users), evaluate(random_policy(trial), trial, given.users)

    names = ["recgym", "gymnasium", "numpy", "numba", *packages]
    result = {
        "command": command(),
        "id": trial.id,
        "options": trial.options,
        "native": trial.native,
        "steps": trial.steps,
        "seed": trial.seed,
        "users": given.users,
        "return": interval(earned),
        "random": interval(random),
        "gain": interval(earned - random),  # of the same users
        "seconds": round(seconds, 1),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in names}},
    }
    learned = "above" if result["gain"]["mean"] > result["gain"]["half_width"] else "not above"
    print(
        f"return {result['return']['mean']:.2f} ± {result['return']['half_width']:.2f}, random "
        f"{result['random']['mean']:.2f} ± {result['random']['half_width']:.2f}: {learned} random. "
        f"{trial.steps} steps in {seconds:.0f} s, {', '.join(f'{name} {version(name)}' for name in packages)}"
    )
    if given.out:
        write_atomically(given.out, (json.dumps(result, indent=2) + "\n").encode())


def command() -> str:
    """The command line, without what says where the result goes."""
    line = " ".join(["python", f"examples/clients/{Path(sys.argv[0]).name}", *map(shlex.quote, sys.argv[1:])])
    return re.sub(r" --out[ =]\S+", "", line)


def quieten() -> None:
    """Libraries warn of their own and each other's deprecations, which say nothing of recgym."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger().setLevel(logging.ERROR)
