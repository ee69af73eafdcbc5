"""Agents that come with the package: they are those of the published rows, and load only as they were published."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from baselines import evaluate, load_pretrained, make_agent, pretrained
from baselines.agent import Task
from benchmarks import files
from benchmarks.files import read_manifest
from benchmarks.packed import read_results
from benchmarks.pretrain import pretrain
from recgym.errors import ConfigError

EVERY = pretrained.pretrained()


def test_the_index_is_of_published_rows_and_of_what_is_there() -> None:
    assert {"slate-ppo", "dqn", "linucb", "reinforce"} <= {entry.name for entry in EVERY}
    there = {path.parent.name for path in pretrained.FOLDER.glob("*/agent.json")}
    assert there == {entry.folder for entry in EVERY}
    for suite in {entry.suite for entry in EVERY}:
        place = files.PUBLISHED / suite
        manifest = read_manifest(place)
        jobs = {entry.job.key: entry for entry in manifest.entries}
        mine = [entry for entry in EVERY if entry.suite == suite]
        results, _ = read_results(place, [entry.key for entry in mine], manifest.shared)
        for entry in mine:
            job, returns = jobs[entry.key].job, results[entry.key].returns
            assert (returns.mean, returns.se) == (entry.returns, entry.se)
            assert (job.agent, job.seed, job.steps, job.task.id) == (entry.agent, entry.seed, entry.steps, entry.id)
            assert jobs[entry.key].label == entry.name


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: entry.folder)
def test_each_is_what_was_published(entry: pretrained.Pretrained) -> None:
    agent = load_pretrained(entry.name, entry.id)
    assert not agent.privileged
    score = evaluate(agent, Task(entry.id, {"weeks": [8, 12]}), users=100, seed=10**9)
    away = abs(score.returns.mean() - entry.returns)
    assert away < 5 * score.returns.std() / 100**0.5  # these are the first of the users that the row was measured on


def test_it_earns_its_row_to_the_last_digit() -> None:
    entry = next(entry for entry in EVERY if entry.name == "linucb" and entry.id == "recgym/LiveStreamSlate-v0")
    score = evaluate(load_pretrained("linucb", entry.id), Task(entry.id, {"weeks": [8, 12]}), users=2000, seed=10**9)
    assert score.returns.mean() == entry.returns


def test_wrong_names_say_what_is_there() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'recgym/News-v0'"):
        load_pretrained("dqn", "recgym/New-v0")
    with pytest.raises(ConfigError, match=r"Did you mean 'slate-ppo'"):
        load_pretrained("slate-pp", "recgym/News-v0")


def test_what_was_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "there"
    shutil.copytree(pretrained.FOLDER, folder)
    monkeypatch.setattr(pretrained, "FOLDER", folder)
    place = folder / "News-v0.linucb"
    (place / "bandit.npz").write_bytes(b"other")
    with pytest.raises(ConfigError, match="must hold the files of one agent"):
        load_pretrained("linucb", "recgym/News-v0")
    data = json.loads((place / "agent.json").read_text())
    (place / "agent.json").write_text(json.dumps(data | {"alpha": 2.0}))
    with pytest.raises(ConfigError, match="must be the published one"):
        load_pretrained("linucb", "recgym/News-v0")


def test_an_index_that_is_none_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('[{"name": "dqn"}]')
    with pytest.raises(ConfigError, match="must be a list of agents"):
        pretrained.pretrained(tmp_path)
    assert pretrained.pretrained(tmp_path / "nothing") == []


def test_an_agent_that_does_not_earn_its_row_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.pretrain.make_agent", lambda name, **_: make_agent("random"))
    with pytest.raises(ConfigError, match="must earn"):
        pretrain("core-v1", Console(quiet=True), ["linucb"], folder=tmp_path)
    assert not [*tmp_path.iterdir()]


def test_training_again_makes_the_agent_of_the_row(tmp_path: Path) -> None:
    made = pretrain("slate-v1", Console(quiet=True), ["linucb"], folder=tmp_path)
    kept = [entry for entry in EVERY if (entry.name, entry.suite) == ("linucb", "slate-v1")]
    assert pretrained.pretrained(tmp_path) == kept
    assert {entry.key for entry in made} == {entry.key for entry in kept}
    assert pretrain("slate-v1", Console(quiet=True), ["linucb"], folder=tmp_path) == []
    with pytest.raises(ConfigError, match="only"):
        pretrain("slate-v1", Console(quiet=True), ["lnucb"], folder=tmp_path)
