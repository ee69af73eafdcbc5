"""MovieLens 100K as RecBole's package brings it: read, fitted, played and learned on. Fetched from the package index where there is one."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("polars")
pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")

import polars as pl

from baselines import Task, evaluate, make_agent
from recgym.errors import ConfigError
from recgym.fit.folder import fit_and_report, write_world
from recgym.fit.world_report import WorldReport
from recgym.logs import Logs, read

VERSION = "1.2.1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The atomic files of ml-100k out of RecBole's wheel."""
    place = tmp_path_factory.mktemp("recbole")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--retries",
        "0",
        "--timeout",
        "20",
    ]
    try:
        done = subprocess.run(
            [*command, "-d", str(place), f"recbole=={VERSION}"], capture_output=True, text=True, timeout=120
        )
    except subprocess.TimeoutExpired:
        pytest.skip("the package index does not answer")
    wheels = [*place.glob("recbole-*.whl")]
    if done.returncode or not wheels:
        pytest.skip(
            f"RecBole cannot be fetched: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no wheel'}"
        )
    inside = "recbole/dataset_example/ml-100k/ml-100k."
    with zipfile.ZipFile(wheels[0]) as wheel:
        for end in ("inter", "item", "user"):
            (place / f"ml-100k.{end}").write_bytes(wheel.read(inside + end))
    return place


@pytest.fixture(scope="module")
def logs(folder: Path) -> Logs:
    return read("recbole", folder, click_rating="4")


@pytest.fixture(scope="module")
def world(logs: Logs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fitted to the users of whom least is logged, in few steps."""
    few = logs.events.group_by("user").len().sort("len", "user")["user"][:250]
    some = Logs(logs.events.filter(pl.col("user").is_in(few.implode())), logs.items, logs.users, False, logs.source)
    found = fit_and_report(some, title="ml-100k", dimensions=4, steps=10, slate_size=3, click_rate=0.1, negatives=4)
    write_world(out := tmp_path_factory.mktemp("fitted") / "ml", found.fitted.world, found.report)
    return out


def test_the_files_are_read(folder: Path, logs: Logs) -> None:
    assert (logs.n_users, logs.n_items, len(logs)) == (943, 1682, 55_375)
    assert not logs.impressions
    assert logs.dropped == {"rating must be at least 4 to count as a click": 44_625}
    assert logs.source["click"] == "a rating of at least 4"
    assert logs.items.filter(pl.col("topic") == "Animation")["movie_title"].str.contains("Toy Story").any()
    whole = read("recbole", folder)
    assert len(whole) == 100_000
    assert whole.source["click"].startswith("every row counts as one")
    with pytest.raises(ConfigError, match="click_rating: must be a number, got 'good'"):
        read("recbole", folder, click_rating="good")


def test_the_report_says_what_interactions_alone_cannot_tell(world: Path) -> None:
    report = WorldReport.load(world)
    assert report.choices.keys() == {"multinomial logit"}
    assert any("how often users click at all cannot be told" in line for line in report.unknown)
    assert "nothing to compare" in report.replayed
    assert report.logs["clicks"] == report.logs["rows"]
    scores = {score.model: score for score in report.tested.scores}
    assert scores["popularity"].auc > 0.6
    assert scores["fitted"].auc > 0.55


@pytest.mark.parametrize(
    ("id", "slate", "agent"), [("recgym/Ecommerce-v0", 1, "dqn"), ("recgym/EcommerceSlate-v0", 3, "slateq")]
)
def test_agents_learn_in_the_world(world: Path, id: str, slate: int, agent: str) -> None:
    env = gym.make(id, world=str(world), slate_size=slate)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    task = Task(id, {"world": str(world), "slate_size": slate})
    learner = make_agent(agent)
    learner.fit(task, steps=2000)
    returns = evaluate(learner, task, users=50, seed=10**6).returns
    assert np.isfinite(returns).all()
    assert returns.mean() > 0
