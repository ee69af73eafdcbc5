"""The report of a fitted world: scores on held-out users, the replay of the logged ones, and the report as data, Markdown and HTML."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

pytest.importorskip("polars")
pytest.importorskip("torch")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

import polars as pl
import torch
from behaviour_logs import logs_of, made_up

from benchmarks.fit_page import fit_page
from recgym.errors import ConfigError, FitError
from recgym.fit import heldout
from recgym.fit.events import slates_of
from recgym.fit.folder import Found, fit_and_report
from recgym.fit.heldout import Counted, held_out, marginals, sequence_model
from recgym.fit.inputs import one_by_one, with_rows
from recgym.fit.likelihood import CHOICES, examination
from recgym.fit.replay import beside, replay, same_users
from recgym.fit.scores import HeldOut, auc, calibration, score
from recgym.fit.taste import Data
from recgym.fit.world_report import WorldReport, ranged
from recgym.logs import Logs
from recgym.models.choice import Cascade, MultinomialLogit, PositionBased


@pytest.fixture(scope="module")
def logs() -> Logs:
    return made_up(users=150, weeks=1)


@pytest.fixture(scope="module")
def found(logs: Logs) -> Found:
    return fit_and_report(logs, title="made up", choice="position-based", steps=10, dimensions=3, candidates=10)


# Scores


def test_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    rng = np.random.default_rng(0)
    click, p = rng.random(300) < 0.3, rng.integers(0, 20, 300) / 20.0  # with ties
    good, bad = p[click], p[~click]
    pairs = (good[:, None] > bad).mean() + 0.5 * (good[:, None] == bad).mean()
    assert auc(click, p) == pytest.approx(pairs)
    assert auc(click, np.full(300, 0.2)) == 0.5
    assert math.isnan(auc(np.zeros(300, bool), p))


def test_scores_and_their_intervals() -> None:
    """Predictions that are right are better than those that are not, by more than the interval; users are what is drawn."""
    rng = np.random.default_rng(1)
    owner = np.repeat(np.arange(100), 30)
    true = np.clip(rng.beta(1, 4, 3000), 1e-3, 1 - 1e-3)
    click = rng.random(3000) < true
    known = {"constant": np.full(3000, click.mean()), "fitted": true}
    constant, fitted = score(click, known, owner, 100, dict.fromkeys(known, ""))
    assert fitted.log_loss == pytest.approx(-np.where(click, np.log(true), np.log1p(-true)).mean())
    assert fitted.log_loss_low < fitted.log_loss < fitted.log_loss_high
    assert constant.behind == pytest.approx(constant.log_loss - fitted.log_loss)
    assert 0 < constant.behind_low < constant.behind < constant.behind_high
    assert constant.auc == constant.auc_low == constant.auc_high == 0.5
    assert 0.6 < fitted.auc_low < fitted.auc < fitted.auc_high
    # All rows of a user alike: the interval is that of 100 numbers, not of 3000
    same = score(np.repeat(click[:100], 30), {"fitted": np.full(3000, click[:100].mean())}, owner, 100, {"fitted": ""})[
        0
    ]
    once = score(click[:100], {"fitted": np.full(100, click[:100].mean())}, np.arange(100), 100, {"fitted": ""})[0]
    assert (same.log_loss_low, same.log_loss_high) == pytest.approx((once.log_loss_low, once.log_loss_high))
    (alone,) = score(click[:30], {"fitted": true[:30]}, owner[:30], 1, {"fitted": ""})
    assert math.isnan(alone.log_loss_low)


def test_calibration_says_how_often_was_clicked_what_was_predicted() -> None:
    rng = np.random.default_rng(2)
    p = rng.uniform(0.01, 0.5, 20_000)
    click, owner = rng.random(20_000) < p, np.repeat(np.arange(1000), 20)
    bins = calibration(click, p, owner)
    assert len(bins) == 10
    assert sum(b.rows for b in bins) == 20_000
    assert sum(b.low <= b.predicted <= b.high for b in bins) >= 8
    assert all(b.predicted > b.high for b in calibration(click, np.minimum(2 * p, 0.99), owner))
    assert len(calibration(click, np.full(20_000, 0.2), owner)) == 1


@pytest.mark.parametrize("name", [*CHOICES])
def test_marginals_are_those_of_the_choice_models(name: str) -> None:
    rng = np.random.default_rng(3)
    theta = torch.tensor([x + 0.3 * k for k, x in enumerate(CHOICES[name][1](4))])
    shape = torch.nn.functional.softplus(theta) if name == "multinomial logit" else torch.sigmoid(theta)
    t = shape.tolist()
    models: dict[str, Any] = {
        "position-based": lambda: PositionBased(tuple(examination(theta).tolist()), 0.0),
        "cascade": lambda: Cascade(t[0], t[1], 0.0), "multinomial logit": lambda: MultinomialLogit(0.0, t[0]),
        "independent": lambda: PositionBased((1.0,) * 4, 0.0),
    }  # fmt: skip
    v = rng.normal(size=(50, 4)).astype(np.float32)
    v[:10, 3] = -np.inf
    want = models[name]().sample(v, np.zeros(50, np.float32), rng.random((8, 50)).astype(np.float32))[1]
    got = marginals(name, torch.from_numpy(np.where(v > -np.inf, v, 0)), torch.from_numpy(v > -np.inf), theta)
    np.testing.assert_allclose(got.numpy(), want, atol=2e-6)


# Models beside the fitted one


def data_of(logs: Logs) -> Data:
    slates = slates_of(logs)
    T = torch.from_numpy
    none = np.zeros((slates.n_users, 1), np.float32)
    return Data(
        T(np.maximum(slates.item, 0).astype(np.int64)), T(slates.shown), T(slates.click & slates.shown), T(np.zeros((*slates.item.shape, 0), np.float32)),
        T(slates.user.astype(np.int64)), slates.first, T(none), T(none[:, 0] > 0), T(np.zeros((slates.n_items, 0), np.float32)), None, (),
        torch.zeros(slates.item.shape), 0,
    )  # fmt: skip


def test_item_only_finds_positions_and_items() -> None:
    rng = np.random.default_rng(4)
    n = 30_000
    item, place = rng.integers(0, 20, n), np.tile(np.arange(3), n // 3)
    effect = rng.normal(0, 0.8, 20)
    p = 1 / (1 + np.exp(1.0 + 0.7 * place - effect[item]))
    frame = pl.DataFrame({"user": np.repeat(np.arange(n // 30), 30), "item": item, "slate": np.arange(n) // 3, "position": place,
                          "click": rng.random(n) < p})  # fmt: skip
    time = pl.datetime(2024, 1, 1, time_unit="us", time_zone="UTC") + pl.duration(minutes=pl.col("slate"))
    events = frame.with_columns(time.alias("time")).cast(
        {"user": pl.UInt32, "item": pl.UInt32, "slate": pl.UInt32, "position": pl.UInt16}
    )
    data = data_of(logs_of(events))
    rows = np.arange(n // 3)
    got = Counted.of(data, np.arange(n // 30)).item_only(data, rows)
    np.testing.assert_allclose(got, p.reshape(-1, 3), atol=0.06)
    popular = Counted.of(data, np.arange(n // 30)).popularity()
    assert np.corrcoef(popular, effect)[0, 1] > 0.95


def test_the_sequence_model_learns_what_follows_what() -> None:
    """Users click the item that follows the one they clicked last; nothing else tells what they click."""
    rng = np.random.default_rng(5)
    users, steps, items = 200, 10, 8
    rows: list[tuple[int, int, int, int, bool]] = []
    for user in range(users):
        last = int(rng.integers(items))
        for k in range(steps):
            shown = [int(i) for i in rng.permutation(items)[:3]]
            if (last + 1) % items not in shown:
                shown[0] = (last + 1) % items
            rows += [(user, i, user * steps + k, s, i == (last + 1) % items) for s, i in enumerate(shown)]
            last = (last + 1) % items
    frame = pl.DataFrame(rows, schema=["user", "item", "slate", "position", "click"], orient="row")
    time = pl.datetime(2024, 1, 1, time_unit="us", time_zone="UTC") + pl.duration(minutes=pl.col("slate"))
    events = frame.with_columns(time.alias("time")).cast(
        {"user": pl.UInt32, "item": pl.UInt32, "slate": pl.UInt32, "position": pl.UInt16}
    )
    data = data_of(logs_of(events))
    held = np.arange(170, 200)
    rows_ = np.concatenate([np.arange(data.first[j] + 1, data.first[j + 1]) for j in held])
    before = torch.get_rng_state()
    told: list[float] = []
    p = sequence_model(data, np.arange(170), rows_, 30, progress=lambda what, share, number: told.append(share))
    assert torch.equal(before, torch.get_rng_state())  # the global generator is left alone
    click = data.click[torch.from_numpy(rows_)].numpy()
    assert auc(click.ravel(), p.ravel()) > 0.9
    known = Counted.of(data, np.arange(170)).popularity()[data.item[torch.from_numpy(rows_)].numpy()]
    assert auc(click.ravel(), known.ravel()) < 0.65
    assert told[-1] == 1.0


# Held-out users


def test_held_out_users_are_not_in_the_fit(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[np.ndarray] = []
    whole = heldout.fit_taste
    predicted: list[np.ndarray] = []
    sequence = heldout.sequence_model

    def fit_taste(*arguments: Any, **options: Any) -> Any:
        used.append(options["users"])
        return whole(*arguments, **options)

    def sequence_model(data: Data, train: np.ndarray, rows: np.ndarray, *rest: Any) -> Any:
        used.append(train)
        predicted.append(rows)
        return sequence(data, train, rows, *rest)

    monkeypatch.setattr(heldout, "fit_taste", fit_taste)
    monkeypatch.setattr(heldout, "sequence_model", sequence_model)
    tested = held_out(found.fitted, epochs=2)
    slates = found.fitted.slates
    of = np.unique(slates.user[predicted[0]])
    assert len(of) == tested.users == 50
    assert all(not np.isin(of, users).any() for users in used)
    begin = slates.first[:-1][slates.user[predicted[0]]]
    length = np.diff(slates.first)[slates.user[predicted[0]]]
    assert ((predicted[0] - begin) >= length // 2).all()  # the later halves
    assert [s.model for s in tested.scores] == ["constant", "popularity", "item-only", "sequence", "fitted"]
    assert tested.rows == slates.shown[predicted[0]].sum()
    assert "have AUC" in tested.sentence or "has AUC" in tested.sentence
    with pytest.raises(ConfigError, match="epochs: must be an integer"):
        held_out(found.fitted, epochs=0)


# The replay


def test_the_replay_shows_what_was_shown(found: Found, logs: Logs) -> None:
    simulated = replay(found.fitted, logs, seed=3)
    assert simulated.events["user"].n_unique() == 150
    assert {*simulated.events.columns} == {*logs.events.columns} - {"propensity"} - (
        {"session"} if not simulated.has("session") else set()
    )
    for user in (0, 7, 149):
        mine = [table.filter(pl.col("user") == user).group_by("slate", maintain_order=True).agg("item")["item"].to_list()
                for table in (logs.events, simulated.events)]  # fmt: skip
        n = min(map(len, mine))
        assert mine[0][:n] == mine[1][:n]
    first = [
        table.group_by("user").agg(pl.col("time").min()).sort("user")["time"]
        for table in (logs.events, simulated.events)
    ]
    assert (first[0] - first[1]).abs().max().total_seconds() < 2  # type: ignore[union-attr]
    assert (
        simulated.events["time"].max() <= logs.events["time"].max() + pl.Series([60_000_000]).cast(pl.Duration("us"))[0]
    )
    few = replay(found.fitted, logs, users=10)
    assert few.events["user"].n_unique() == 10
    assert {*same_users(logs, few).events["user"].unique()} == {*few.events["user"].unique()}


def test_what_was_not_shown_is_not_replayed(found: Found, logs: Logs) -> None:
    clicks = Logs(logs.events.filter("click"), logs.items, logs.users, False)
    with pytest.raises(FitError, match="interactions alone"):
        replay(found.fitted, clicks)
    pairs, why = beside(found.fitted, clicks)
    assert not pairs
    assert "nothing to compare" in why


# The report


def test_the_report_is_plain_data(found: Found) -> None:
    data = found.report.to_dict()
    again = WorldReport.from_dict(json.loads(json.dumps(data, allow_nan=False)))
    assert again.to_dict() == data
    assert again.world["items"] == 60
    assert isinstance(again.tested, HeldOut)
    names = [p.name for p in again.parameters]
    assert "log_price" in names
    with pytest.raises(FitError, match=r"fit\.json: must be of format"):
        WorldReport.from_dict({**data, "format": "another"})
    with pytest.raises(FitError, match=r"fit\.json: must have the fields"):
        WorldReport.from_dict({k: v for k, v in data.items() if k != "seconds"})
    with pytest.raises(FitError, match=r"fit\.json\.findings"):
        WorldReport.from_dict({**data, "findings": 3})


def test_the_report_says_what_it_does_not_know(found: Found) -> None:
    report = found.report
    text = report.to_markdown()
    for line in (*report.unknown, *report.findings, *report.privacy):
        assert line in text
    assert any(line.startswith("k-anonymity: not asked for") for line in report.privacy)
    assert "Like: not logged" in text
    assert all(
        p.value == pytest.approx(q.value, rel=1e-5)
        for p, q in zip(found.fitted.parameters, report.parameters, strict=True)
    )
    assert "sequence" in text.split("## Predicting")[1].split("## Logged")[0]
    assert ranged(0.5, math.nan, math.nan) == "0.500"


def test_few_rows_are_called_few(logs: Logs) -> None:
    few = Logs(logs.events.filter(pl.col("user") < 12), logs.items, logs.users.filter(pl.col("user") < 12))
    found = fit_and_report(few, choice="independent", steps=10, dimensions=2, candidates=5)
    assert "tell next to nothing" in found.report.findings[0]
    json.dumps(found.report.to_dict(), allow_nan=False)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"]] if given.get("id") else []  # type: ignore[list-item]
        self.links += [given[name] for name in ("href", "src") if given.get(name)]  # type: ignore[misc]
        if tag not in ("meta", "link", "br", "path", "use", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "link", "br", "path", "use", "input"):
            assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(found: Found) -> None:
    html = fit_page(found.report, found.pairs, "my <world>")
    page = _Page()
    page.feed(html)
    assert not page.open
    for link in page.links:
        assert link == "data:," or (link.startswith("#") and (link[1:] in page.ids or "m" in link or "p" in link)), link
    for wanted in (
        "In short",
        "What the logs do not tell",
        "Calibration",
        "Logged beside simulated",
        "Parameters",
        "Privacy",
    ):
        assert wanted in html
    assert "my &lt;world&gt;" in html
    assert "<script" not in html


def test_random_items_beside_interactions_do_not_give_themselves_away(logs: Logs) -> None:
    """Where logs have clicks alone, the place of the clicked item among random ones must tell nothing."""
    clicks = Logs(logs.events.filter("click"), logs.items, logs.users, False)
    found = fit_and_report(clicks, steps=10, dimensions=2, candidates=5, negatives=4)
    assert any("among random items" in note for note in found.report.tested.notes)
    scores = {score.model: score for score in found.report.tested.scores}
    for name in ("item-only", "sequence", "fitted"):
        assert scores[name].auc < 0.8  # 1 if the place were known
    assert scores["constant"].auc == 0.5
    assert found.report.replayed.startswith("There is nothing to compare")
    assert not found.pairs
    assert fit_page(found.report, found.pairs)


def test_users_without_rows_are_left_out(logs: Logs) -> None:
    """Such as those of a table of users who never came, or whose rows k-anonymity took."""
    some = logs.events.filter(pl.col("user") % 3 == 0)
    few = with_rows(Logs(some, logs.items, logs.users))
    assert few.n_users == some["user"].n_unique() == 50
    assert few.users["id"].to_list() == [f"u{k}" for k in range(0, 150, 3)]
    assert (few.events["user"] * 3 == some["user"]).all()
    assert with_rows(logs) is logs


def test_interactions_are_steps_of_their_own(logs: Logs) -> None:
    """Also those at one time, or at a place below the first, as a page of a shop has them."""
    clicks = Logs(logs.events.filter("click"), logs.items, logs.users, False)
    alone = one_by_one(clicks)
    assert alone.n_slates == len(alone) == len(clicks)
    assert "position" not in alone.events.columns
    found = fit_and_report(clicks, steps=10, dimensions=2, candidates=5, negatives=4)
    assert found.fitted.slates.click.sum() == len(clicks)
