"""What a stranger can add from a folder of their own, one file each, without a private name: see `tests/strangers`.

A domain, a preference model, a form of actions, an agent, a reader of logs, and a suite that the command line runs.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STRANGERS = Path(__file__).with_name("strangers")
CODE = sorted(STRANGERS.glob("*.py"))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A copy of the files in a folder outside the package."""
    folder = tmp_path / "stays"
    shutil.copytree(STRANGERS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run(folder: Path, *arguments: str) -> str:
    """What Python prints in the folder."""
    given = [sys.executable, "-W", "error::UserWarning", *arguments]
    done = subprocess.run(
        given, cwd=folder, capture_output=True, text=True, env=dict(os.environ, COLUMNS="200"), check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_six_files_and_no_private_name() -> None:
    files = [path for path in STRANGERS.iterdir() if path.is_file()]
    assert sorted(path.name for path in files) == [
        "by_topic.py",
        "cautious.py",
        "diary.py",
        "hotels.py",
        "loss_averse.py",
        "stays.json",
    ]
    for file in CODE:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.attr] if isinstance(node, ast.Attribute) else []
            if isinstance(node, ast.ImportFrom):
                names += [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            private = [name for name in names if name.startswith("_") and name != "__future__"]
            assert not private, f"{file.name}: {private}"


def test_a_domain(elsewhere: Path) -> None:
    """Registered, made by Gymnasium, through the checks, and compiled to the same numbers."""
    code = """
import gymnasium as gym, numpy as np, hotels, recgym
from recgym.testing import check_component, check_env, check_world
world = recgym.load_world("hotels", hotels=100)
check_world(world)
check_component(world.departure, world)
for id in recgym.registered_worlds()["hotels"].ids:
    check_env(id, steps=40)
    plain, fused = (gym.make_vec(id, num_envs=7) for _ in range(2))
    assert fused.fuse()
    fused.reset(seed=3), plain.reset(seed=3), plain.action_space.seed(0)
    booked = 0
    for _ in range(60):
        action = plain.action_space.sample()
        a, b = plain.step(action), fused.step(action)
        assert all((x == y).all() for x, y in zip(a[:4], b[:4])) and (a[4]["slate"] == b[4]["slate"]).all()
        booked += a[4]["objectives"][:, 1].sum()
    print(id, booked > 0)
"""
    assert run(elsewhere, "-c", code) == "stays/Hotels-v0 True\nstays/HotelsSlate-v0 True\n"


def test_a_preference_model(elsewhere: Path) -> None:
    """Its values by hand, through the check, by keyword and as JSON, compiled."""
    code = """
import gymnasium as gym, numpy as np, hotels, recgym
from loss_averse import LossAverse
from recgym.testing import check_component
model = LossAverse(aversion=2.5)
world = recgym.load_world("hotels", preference=model)
check_component(model, world)
users = world.arrive(recgym.mix(range(4)))
items = users.candidates[:, :6]
got = world.appraise(users, items)[0]
gain = 3.0 - world.catalog["price"][items]
want = 3 * np.einsum("bd,bsd->bs", users.interest, world.catalog.embedding[items]) + np.where(gain >= 0, gain, 2.5 * gain)
np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
assert (gain < 0).any() and (gain > 0).any()
env = gym.make("stays/HotelsSlate-v0", preference={"kind": "LossAverse", "aversion": 2.5})
assert env.unwrapped.world.preference.to_dict() == model.to_dict()
print(env.unwrapped.fuse())
"""
    assert run(elsewhere, "-c", code) == "True\n"


def test_a_form_of_actions(elsewhere: Path) -> None:
    """In recgym's own domain, passed as a class and by name, plain and compiled."""
    code = """
import gymnasium as gym, numpy as np
from by_topic import TopicAction
from recgym.testing import check_env
check_env("recgym/NewsSlate-v0", action=TopicAction, steps=40)
plain, fused = (gym.make_vec("recgym/NewsSlate-v0", num_envs=9, action=form) for form in (TopicAction, "topic"))
assert fused.fuse()
plain.reset(seed=0), fused.reset(seed=0), plain.action_space.seed(0)
shown = 0
for _ in range(50):
    action = plain.action_space.sample()
    a, b = plain.step(action), fused.step(action)
    assert all((x == y).all() for x, y in zip(a[:4], b[:4])) and (a[4]["slate"] == b[4]["slate"]).all()
    slate = a[4]["slate"]
    topic = np.where(slate >= 0, plain.world.catalog.topic[slate], action[:, None])
    assert (topic == action[:, None]).all()
    shown += (slate >= 0).sum()
print(plain.single_action_space, shown > 0)
"""
    assert run(elsewhere, "-c", code) == "Discrete(20) True\n"


def test_an_agent_variant(elsewhere: Path) -> None:
    """It learns, acts, and is read back from its files."""
    code = """
from baselines import Task, make_agent
from recgym.testing import check_agent
agent = make_agent("cautious.py:CautiousSlateQ", learning_starts=64, batch_size=16)
check_agent(agent, Task("recgym/InterestEvolution-v0"), users=4, steps=5, fit_steps=640)
print(type(agent).__name__)
"""
    assert run(elsewhere, "-c", code) == "CautiousSlateQ\n"


def test_a_suite_on_the_command_line(elsewhere: Path) -> None:
    """A suite of a stranger's tasks and agents: listed, run, reported, and checked as a contribution."""
    assert "hotels, few hotels" in run(elsewhere, "-m", "benchmarks", "list", "stays.json")
    shown = run(elsewhere, "-m", "benchmarks", "run", "stays.json", "-o", "results", "--workers", "1")
    assert "no planner: not normalised" in shown
    assert "cautious" in (elsewhere / "results" / "leaderboard.md").read_text()
    assert json.loads((elsewhere / "results" / "suite.json").read_text())["suite"] == "stays-v0"
    run(elsewhere, "-m", "benchmarks", "report", "results")
    trusted = ["--trust", "cautious.py:CautiousSlateQ", "--trust", "hotels:stays/HotelsSlate-v0"]
    run(elsewhere, "-m", "benchmarks", "submit-check", "results", "--sample", "1", *trusted)


def test_a_reader_of_logs(elsewhere: Path) -> None:
    """Known to `read` once it is imported; its wrong rows, options, hashes and sessions are like those of any other."""
    pytest.importorskip("polars")
    lines = [
        "2024-05-01 10:00 anna saw tea",
        "2024-05-01 10:01 anna read cats for 90 s",
        "no entry",
        "2024-05-02 09:00 bob saw tea",
    ]
    (elsewhere / "book.txt").write_text("\n".join(lines))
    code = """
import diary, recgym.logs
logs = recgym.logs.read("diary", "book.txt", tolerance=0.3, keep_ids=True, shout=True)
print(logs.users["id"].to_list(), logs.items["id"].to_list(), logs.n_sessions, *logs.problems)
print(logs.describe())
"""
    printed = run(elsewhere, "-c", code)
    assert "['anna', 'bob'] ['TEA', 'CATS'] 2 book.txt, line 3: must be an entry of a diary, got 'no entry'" in printed
    assert "dwell       mean 90" in printed
