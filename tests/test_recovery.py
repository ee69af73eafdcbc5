"""`benchmarks recovery`: its worlds keep the contract, and its tables say what was found."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

pytest.importorskip("polars")

import recgym
from benchmarks import recovery
from benchmarks.__main__ import app
from benchmarks.recovery import SOURCES, planted, same_order, sections
from recgym.testing import check_world


@pytest.mark.parametrize("name", ["bazaar", "gazette"])
def test_compositions_keep_the_contract(name: str) -> None:
    make, reward = SOURCES[name]
    check_world(make(), steps=300, users=1024)
    assert set(reward) <= set(make().objectives)


def test_a_planted_world_has_the_numbers_that_are_told() -> None:
    """Examination and the chance to leave after the first step, counted; the others are constants of parts."""
    world, truth = planted(3)
    assert planted(3)[1] == truth != planted(4)[1]
    users = world.arrive(recgym.mix(range(40_000)))
    slate = users.candidates[:, :3]
    _, feedback = world.step(users, slate, world.noise(users))
    v = 1 / (1 + np.exp(-feedback.utility))
    for position in (1, 3):
        found = feedback.click[:, position - 1].sum() / v[:, position - 1].sum()
        assert found == pytest.approx(truth[f"examination {position}"], rel=0.08)
    mood = 0.2 * truth["mood, shown"] * world.catalog["shown"][slate].mean(axis=1)
    leaves = (1 / (1 + np.exp(mood - truth["leaving, log-odds"]))).mean()
    assert feedback.left.mean() == pytest.approx(leaves, rel=0.05)


def test_tables_say_what_is_close_and_what_is_not() -> None:
    scores = {"random": {"true": [1.0, 0.01, 20.0], "fitted": [1.05, 0.01, 21.0]},
              "myopic": {"true": [2.0, 0.01, 30.0], "fitted": [2.2, 0.01, 28.0]}}  # fmt: skip
    assert same_order(scores)
    found = {"impressions": 1000, "users": 10, "choice": "cascade", "seconds": 3.0, "scores": scores}
    data = {
        "values": {"gazette": found},
        "coverage": {"runs": 2, "held": {"price": 1, "mood": 1}, "told": {"price": 2, "mood": 1}},
    }
    logs, values, intervals = sections(data)
    assert logs.rows == [("gazette", "1,000", "10", "cascade", "3", "yes")]
    assert [row[-1] for row in values.rows] == [
        "yes",
        "no",
    ]  # 5 % off is close for random, 10 % is not for an oracle of the step
    assert values.rows[1][4] == "+10.0%"
    assert intervals.rows == [("price", "1 of 2", "0"), ("mood", "1 of 1", "1"), ("all", "2 of 3", "1")]
    scores["myopic"]["fitted"] = [0.5, 0.01, 20.0]
    assert not same_order(scores)
    scores["myopic"]["fitted"] = [1.04, 0.01, 20.0]
    assert same_order(scores)  # two that cannot be told apart are in no order


def test_coverage_counts_what_intervals_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from recgym.fit.parameters import Parameter

    def fit_world(logs: object, **settings: int) -> SimpleNamespace:
        _, truth = planted(settings["seed"])
        price = np.float64(truth["log_price"])
        near = Parameter("log_price", price + 0.1, price - 0.1, price + 0.3, "")
        return SimpleNamespace(
            parameters=(near, Parameter("leaving, pace", np.float64(9.0), np.float64(8.0), np.float64(10.0), ""))
        )

    monkeypatch.setattr("recgym.fit.worlds.fit_world", fit_world)
    found = recovery.coverage(2, 5, lambda text: None)
    assert (found["held"]["log_price"], found["held"]["leaving, pace"], found["held"]["ignored"]) == (
        2,
        0,
        0,
    )  # one was not found
    assert (found["told"]["log_price"], found["told"]["leaving, pace"], found["told"]["ignored"]) == (2, 2, 0)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_run_goes_on_and_is_done_anew_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def values(name: str, impressions: int, users: int, say: object) -> dict[str, object]:
        if name in ran:
            raise KeyboardInterrupt
        ran.append(name)
        scores = {"random": {"true": [1.0, 0.1, 2.0], "fitted": [1.0, 0.1, 2.0]}}
        return {"impressions": 10, "users": 2, "choice": "cascade", "seconds": 1.0, "scores": scores}

    monkeypatch.setattr(recovery, "values", values)
    quiet = Console(quiet=True)
    with pytest.raises(KeyboardInterrupt):
        recovery.run_recovery(tmp_path, ["news", "gazette", "gazette"], 1000, 10, 0, fresh=True, console=quiet)
    recovery.run_recovery(tmp_path, ["news", "gazette"], 1000, 10, 0, console=quiet)
    assert ran == ["news", "gazette"]
    with pytest.raises(KeyboardInterrupt):  # other settings: nothing is taken up
        recovery.run_recovery(tmp_path, ["news"], 2000, 10, 0, console=quiet)
    assert "| news | random |" in (tmp_path / "recovery.md").read_text()


def test_an_unknown_world_is_an_error() -> None:
    result = CliRunner().invoke(app, ["recovery", "newz", "--runs", "0"])
    assert result.exit_code != 0
    assert "news" in result.output or "Did you mean" in str(result.exception)
