"""The targets: ways by which input comes into recgym from outside, and how each is tried."""

from __future__ import annotations

import dataclasses
import gzip
import inspect
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import recgym
from benchmarks.fuzz.hostile import hostile_action, hostile_parameter, mutate_folder
from benchmarks.fuzz.worlds import play, random_world
from recgym.errors import RecgymError


@dataclass(frozen=True)
class Target:
    """A way by which input comes in.

    Attributes:
        about: what is tried. prepare: writes the files that cases mutate into a folder. attempt: one case: mutates a copy
            of them in a folder of its own, or draws what it needs; raises a RecgymError where recgym refuses.
    """

    about: str
    prepare: Callable[[Path], None]
    attempt: Callable[[np.random.Generator, Path], None]


def _without(file: Path, digests: str) -> None:
    """Remove the digests of other files from a JSON file: they would refuse nearly all mutations, and a forger can adapt them."""
    data = json.loads(file.read_bytes())
    data.pop(digests, None)
    file.write_text(json.dumps(data, indent=1))


def _prepare_worlds(folder: Path) -> None:
    for name in ("ecommerce", "news", "livestream"):
        recgym.load_world(name, items=40, slate_size=2).save(folder / name)
    for name in ("interest-evolution", "long-term-satisfaction", "interest-exploration", "recogym"):
        recgym.load_world(name).save(folder / name)
    shutil.copytree(recgym.fitted_worlds()["open-bandit"], folder / "open-bandit")
    for file in folder.glob("*/world.json"):
        _without(file, "arrays")


def _attempt_world(rng: np.random.Generator, folder: Path) -> None:
    (world,) = folder.iterdir()
    mutate_folder(rng, world)
    play(recgym.load_world(world), rng)


AGENTS = (
    "linucb",
    "thompson",
    "pctr",
    "popularity",
    "q-learning",
    "slateq",
    "reinforce",
    "dqn",
    "ppo",
    "recurrent-ppo",
)
_OPTIONS: dict[str, dict[str, Any]] = {"linucb": {"item_prior": 5.0}, "reinforce": {"item_prior": 5.0}}


def _agent_task(name: str) -> Any:
    from baselines import Task

    return Task("recgym/LongTermSatisfaction-v0" if name == "q-learning" else "recgym/News-v0")


def _prepare_agents(folder: Path) -> None:
    from baselines import make_agent

    for name in AGENTS:
        agent = make_agent(name, **_OPTIONS.get(name, {}))
        agent.fit(_agent_task(name), 64)
        agent.save(folder / name)
        _without(folder / name / "agent.json", "files")


def _attempt_agent(rng: np.random.Generator, folder: Path) -> None:
    from baselines.registry import agent_class
    from recgym.compat import AutoresetMode

    (where,) = folder.iterdir()
    mutate_folder(rng, where)
    agent = agent_class(where.name).load(where)
    env = _agent_task(where.name).make(2, AutoresetMode.DISABLED)
    observation, info = env.reset(seed=0)
    agent.start(env)
    action = agent.act(observation, info["action_mask"])
    env.step(action)


def _prepare_results(folder: Path) -> None:
    """One folder as a run leaves it, and one that is packed."""
    from rich.console import Console

    from baselines import Task
    from benchmarks.packed import pack
    from benchmarks.run import run_suite
    from benchmarks.suite import custom_suite

    suite = custom_suite(["linucb"], [Task("recgym/News-v0", {"horizon": 3})], 256, 2, 20)
    with open(os.devnull, "w") as nowhere:
        run_suite(suite, folder / "custom", 1, "python -m benchmarks run", Console(file=nowhere))
    shutil.copytree(folder / "custom", folder / "packed")
    pack(folder / "packed")


def _attempt_results(rng: np.random.Generator, folder: Path) -> None:
    from benchmarks.check import submit_check
    from benchmarks.report import markdown
    from benchmarks.tables import read_folder

    (where,) = folder.iterdir()
    mutate_folder(rng, where)
    submit_check(where, sample=0)
    markdown(read_folder(where), "leaderboard.png").encode()


def _prepare_suites(folder: Path) -> None:
    from benchmarks.suite import SUITES, save_suite

    for name in ("core-v1", "pareto-v1", "generalization-v1"):
        save_suite(dataclasses.replace(SUITES[name], name="mine-v0"), folder / name / "mine.json")


def _attempt_suite(rng: np.random.Generator, folder: Path) -> None:
    from benchmarks.suite import load_suite

    (where,) = folder.iterdir()
    mutate_folder(rng, where)
    suite = load_suite(where / "mine.json")
    assert suite.from_dict(suite.to_dict()) == suite


def _prepare_logs(folder: Path) -> None:
    rows = ["timestamp,item_id,position,click,propensity_score,user_feature_0"]
    rng = np.random.default_rng(0)
    for i in range(60):
        rows.append(
            f"2019-11-24 00:{i:02d}:00.{i:06d}+00:00,{i % 34},{i % 3 + 1},{int(rng.random() < 0.3)},{1 / 34:.6f},a{i}"
        )
    items = ["item_id,item_feature_0,item_feature_1,item_feature_2,item_feature_3"]
    items += [f"{i},{rng.normal():.4f},h{i % 3},k{i % 4},m{i % 5}" for i in range(34)]
    for policy in ("random", "bts"):
        (folder / f"{policy}_men_men.csv.gz").write_bytes(gzip.compress("\n".join([*rows, ""]).encode(), mtime=0))
        (folder / f"{policy}_men_item_context.csv").write_text("\n".join([*items, ""]))


def _attempt_logs(rng: np.random.Generator, folder: Path) -> None:
    from recgym.logs import read_open_bandit

    mutate_folder(rng, folder)
    read_open_bandit(folder, "men").counts()


def _attempt_parameters(rng: np.random.Generator, folder: Path) -> None:
    """Keyword arguments of `gymnasium.make` that nobody should give."""

    from recgym.registry import registered_worlds

    ids = [*recgym.ENV_IDS, *recgym.CLASSIC_IDS]
    id = ids[int(rng.integers(len(ids)))]
    names = [*inspect.signature(recgym.RecVectorEnv.__init__).parameters][2:-1]
    names += [name for name in recgym.World.__dataclass_fields__ if rng.random() < 0.5]
    world = (gym.spec(id).kwargs or {})["world"]
    names += [*inspect.signature(registered_worlds()[world].load()).parameters] if world in registered_worlds() else []
    given = {names[int(rng.integers(len(names)))]: hostile_parameter(rng) for _ in range(int(rng.integers(1, 3)))}
    given.pop("render_mode", None)
    env = gym.make(id, **given).unwrapped
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    for _ in range(3):
        assert observation in env.observation_space, f"{id}, {given}: an observation lies outside its space"
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert np.isfinite(np.asarray(reward)).all(), f"{id}, {given}: a reward is not finite: {reward}"
        if terminated or truncated:
            break


def _attempt_ranges(rng: np.random.Generator, folder: Path) -> None:
    world = random_world(rng)
    try:
        play(world, rng, 8)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{world!r}") from None


def _attempt_actions(rng: np.random.Generator, folder: Path) -> None:
    """Actions that nobody should give: refused, with the state as it was, or inside the space."""
    ids = [*recgym.ENV_IDS, "recgym/InterestEvolution-v0", "recgym/Sardine-SlateTopK-Bored-v0"]
    options: dict[str, Any] = {"action": "embedding"} if rng.random() < 0.2 else {}
    env: Any = gym.make(ids[int(rng.integers(len(ids)))], **options).unwrapped
    env.reset(seed=int(rng.integers(1000)))
    for _ in range(20):
        before = env.get_state().users
        held = {name: array.copy() for name, array in before.__dict__.items()}
        shape, action = env.action_space.shape, hostile_action(rng, env.action_space)
        try:
            *_, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                break
        except RecgymError:
            after = env.get_state().users
            changed = [name for name, array in held.items() if after[name].tobytes() != array.tobytes()]
            assert not changed, f"a refusal changed {changed}, action {action!r} of shape {shape}"


def nothing(folder: Path) -> None:
    """No files."""


TARGETS = {
    "worlds": Target("saved worlds, mutated: world.json and arrays.npz", _prepare_worlds, _attempt_world),
    "agents": Target("saved agents, mutated: hyper-parameters, arrays, networks", _prepare_agents, _attempt_agent),
    "results": Target(
        "results folders, mutated: manifest, jobs, packed files; read, reported, checked",
        _prepare_results,
        _attempt_results,
    ),
    "suites": Target("suite files, mutated", _prepare_suites, _attempt_suite),
    "logs": Target("interaction logs, mutated: Open Bandit files", _prepare_logs, _attempt_logs),
    "parameters": Target("keyword arguments of gymnasium.make that nobody should give", nothing, _attempt_parameters),
    "ranges": Target(
        "worlds of random parts with parameters all over their documented ranges", nothing, _attempt_ranges
    ),
    "actions": Target("actions that nobody should take", nothing, _attempt_actions),
}
