"""Tuning: finds an optimum that is known, goes on where it stopped, and stays on its own seeds."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest

pytest.importorskip("optuna")
pytest.importorskip("typer")

from baselines.agent import Task
from baselines.registry import REGISTRY, agent_class
from benchmarks import suite, tune
from benchmarks.result import Returns
from recgym.errors import ConfigError

SHOP = Task("recgym/Ecommerce-v0", {"horizon": 5})
SPACE = {
    "alpha": {"low": 0.0, "high": 10.0},
    "refresh": {"low": 1, "high": 64, "log": True},
    "user": {"choices": [True, False]},
}


def hill(job, **options) -> SimpleNamespace:
    """Stands for training: best at alpha 3, refresh 8, with the user; the seed of the run adds noise of mean 0."""
    h = job.hyperparameters
    assert isinstance(h["refresh"], int)
    noise = 0.01 * (-1) ** (job.seed // suite.SEED_STRIDE)
    mean = 10 - (h["alpha"] - 3) ** 2 - math.log2(h["refresh"] / 8) ** 2 + h["user"] + noise
    return SimpleNamespace(returns=Returns(mean, 0.1, job.users))


def test_it_finds_a_known_optimum(monkeypatch, tmp_path):
    jobs = []
    monkeypatch.setattr(tune, "execute", lambda job, **options: jobs.append(job) or hill(job))
    told = []
    best = tune.tune(
        "linucb", SHOP, tmp_path, 40, 100, 2, 50, space=SPACE, fixed={"ridge": 2.0}, notify=lambda *t: told.append(t)
    )
    assert best.mean > 10.5, "random search of 40 reaches 10.5 in one of five"
    assert best.parameters["user"] is True
    assert best.parameters["ridge"] == 2.0
    assert best.se == pytest.approx(math.hypot(0.1, 0.01))
    assert json.loads((tmp_path / "best.json").read_text()) == best.parameters
    record = json.loads((tmp_path / "tuning.json").read_text())
    assert [t["number"] for t in record["trials"]] == list(range(40)) == [t[0].number for t in told]
    assert [t[1].mean for t in told] == sorted(t[1].mean for t in told), "the best only gets better"
    assert len(jobs) == 80
    for job in jobs:
        assert job.seed >= suite.TUNING_SEED
        assert job.user_seed >= tune.TUNING_USER_SEED > job.seed + suite.SEED_STRIDE
        assert (job.steps, job.users) == (100, 50)


def test_stopped_and_resumed_is_as_never_stopped(monkeypatch, tmp_path):
    monkeypatch.setattr(tune, "execute", hill)
    monkeypatch.setattr(tune, "START_TRIALS", 3)
    whole = tune.tune("linucb", SHOP, tmp_path / "whole", 8, space=SPACE, seed=5)
    calls = []

    def stops(job, **options):
        calls.append(job)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return hill(job)

    monkeypatch.setattr(tune, "execute", stops)
    with pytest.raises(KeyboardInterrupt):
        tune.tune("linucb", SHOP, tmp_path / "part", 8, space=SPACE, seed=5)
    assert tune.tune("linucb", SHOP, tmp_path / "part", 8, space=SPACE, seed=5) == whole
    assert len(calls) == 9, "four, the one that was stopped, and four more"
    first, second = (json.loads((tmp_path / name / "tuning.json").read_text()) for name in ("whole", "part"))
    assert first == second
    other = tune.tune("linucb", SHOP, tmp_path / "other", 8, space=SPACE, seed=6)
    assert other != whole
    with pytest.raises(ConfigError, match="folder: must be empty or of the same search"):
        tune.tune("linucb", SHOP, tmp_path / "part", 8, space=SPACE, seed=6)
    longer = tune.tune("linucb", SHOP, tmp_path / "part", 9, space=SPACE, seed=5)
    assert longer.mean >= whole.mean, "more trials of the same search go on from there"
    (tmp_path / "part" / "tuning.json").write_text("{")
    with pytest.raises(ConfigError, match=r"tuning\.json must be JSON in UTF-8: Expecting"):
        tune.tune("linucb", SHOP, tmp_path / "part", 8, space=SPACE, seed=5)
    for edit, message in (
        ({"mean": "high"}, "is corrupt: ValueError: a trial"),
        ({"parameters": {"alpha": 1e9}}, "trial 0 in tuning.json is outside the search space"),
        ({"more": 1}, "is corrupt: TypeError"),
    ):
        data = {**first, "trials": [{**first["trials"][0], **edit}]}
        (tmp_path / "part" / "tuning.json").write_text(json.dumps(data))
        with pytest.raises(ConfigError, match=message):
            tune.tune("linucb", SHOP, tmp_path / "part", 8, space=SPACE, seed=5)
    with pytest.raises(ConfigError, match="output: must be a folder that can be written"):
        tune.tune("linucb", SHOP, tmp_path / "part" / "tuning.json", 8, space=SPACE, seed=5)


def test_a_trial_that_fails_does_not_stop_the_others(monkeypatch, tmp_path):
    def fragile(job, **options):
        if job.hyperparameters["alpha"] < 5:
            raise RuntimeError("too small")
        return hill(job)

    monkeypatch.setattr(tune, "execute", fragile)
    best = tune.tune("linucb", SHOP, tmp_path, 12, space=SPACE)
    trials = json.loads((tmp_path / "tuning.json").read_text())["trials"]
    failed = [t for t in trials if t["error"]]
    assert 0 < len(failed) < 12
    assert failed[0]["error"] == "RuntimeError: too small"
    assert failed[0]["mean"] is None
    assert best.parameters["alpha"] >= 5
    with pytest.raises(ConfigError, match=r"no trial of linucb worked; the last said .*too small"):
        tune.tune("linucb", SHOP, tmp_path / "none", 2, space={**SPACE, "alpha": {"low": 0, "high": 1}})


def test_a_real_search(tmp_path):
    best = tune.tune("linucb", SHOP, tmp_path, 2, 128, 1, 4)
    assert best.parameters.keys() == tune.SPACES["linucb"].keys()
    assert math.isfinite(best.mean)


@pytest.mark.parametrize("agent", tune.SPACES)
def test_the_default_spaces_are_of_the_agents(agent):
    pytest.importorskip("torch")
    assert agent in REGISTRY
    tune.check_space(agent, tune.space_of(agent))
    assert {"seed", "objective_weights"}.isdisjoint(tune.SPACES[agent])


def test_an_agent_may_declare_its_space(monkeypatch):
    monkeypatch.setattr(agent_class("random"), "space", {"x": {"low": 0, "high": 1}}, raising=False)
    assert tune.space_of("random") == {"x": {"low": 0, "high": 1}}
    with pytest.raises(ConfigError, match=r"space: none is known for 'popularity' .* give one by --space file.json"):
        tune.space_of("popularity")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "space: must be an object with one hyper-parameter at least"),
        ({"alfa": {"low": 0, "high": 1}}, "Did you mean 'alpha'"),
        ({"alpha": 3}, r"space\['alpha'\]: must be"),
        ({"alpha": {"low": 0}}, "must have high"),
        ({"alpha": {"low": 2, "high": 1}}, "must have low < high"),
        ({"alpha": {"low": 0, "high": 1, "log": True}}, "low > 0 on a log scale"),
        ({"alpha": {"low": 0, "hihg": 1}}, "Did you mean 'high'"),
        ({"alpha": {"choices": []}}, "must have a list of choices"),
        ({"alpha": {"choices": [1], "low": 0}}, "must have nothing beside choices"),
        ({"alpha": {"low": -5, "high": 1}}, "LinUCB.alpha: must be"),
    ],
)
def test_wrong_spaces_show_before_any_trial(tmp_path, space, message):
    with pytest.raises(ConfigError, match=message):
        tune.tune("linucb", SHOP, tmp_path / "out", 2, space=space)
    assert not (tmp_path / "out").exists()


def test_wrong_arguments(tmp_path):
    for changes, message in (
        ({"trials": 0}, "trials: must be"),
        ({"users": 1}, "users: must be"),
        ({"runs": 0}, "seeds: must be"),
        ({"fixed": {"alpha": 1.0}}, "parameter alpha: must not be in the search space too"),
    ):
        with pytest.raises(ConfigError, match=message):
            tune.tune("linucb", SHOP, tmp_path, **changes)


def test_without_optuna_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ConfigError, match=r'needs optuna: pip install "recgym\[tune\]"'):
        tune.tune("linucb", SHOP, tmp_path)
