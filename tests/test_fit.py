"""The fit against closed forms, finite differences, quadrature and simulated logs; shipped world; command line."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from test_logs import FULL, TINY, needs_logs

import recgym
from recgym.__main__ import main
from recgym.envs import RecVectorEnv
from recgym.errors import ConfigError, FitError
from recgym.files import write_atomically
from recgym.fit import (
    LARGEST_SPREAD,
    POSITION_SPREAD,
    FitReport,
    Z,
    best_spread,
    cross_validate,
    fit_clicks,
    fit_open_bandit,
    spread_interval,
    wilson,
)
from recgym.logs import Interactions, read_open_bandit
from recgym.world import World
from recgym.worlds import fitted_worlds, load_world

SHIPPED = Path(recgym.__file__).parent / "data" / "open-bandit"


def draw(rng, n_items, impressions, spread, position, level):
    """Counts of logs with known parameters: impressions, clicks and click probabilities, (N, P)."""
    item = rng.normal(0, spread, n_items)
    probability = 1 / (1 + np.exp(-(level + item[:, None] + np.array(position))))
    n = rng.poisson(impressions, probability.shape)
    return n.astype(float), rng.binomial(n, probability).astype(float), probability


def logs_of(impressions, clicks, rng) -> Interactions:
    """Interactions with these counts, in random order."""
    N, P = impressions.shape
    cell = np.repeat(np.arange(N * P), impressions.astype(int).ravel())
    click = np.concatenate([np.arange(n) < y for n, y in zip(impressions.ravel(), clicks.ravel(), strict=True)])
    order = rng.permutation(len(cell))
    n, levels = len(cell), np.arange(N) % 3
    return Interactions(
        np.full(n, np.datetime64("2019-11-24T12:00:00", "us")), (cell // P)[order].astype(np.int32),
        (cell % P)[order].astype(np.int32), click[order], np.ones(n), np.zeros(n, np.int32), ("random",), N, P,
        {"item_feature_0": np.linspace(-1, 1, N), **{f"item_feature_{k}": levels.astype(np.int32) for k in (1, 2, 3)}},
        {"campaign": "all", "sha256": {}},
    )  # fmt: skip


def log_posterior(theta, n, y, spread):
    """Straight from the definition: theta = (level, position_1 .., item_0 ..)."""
    P = n.shape[1]
    level, position, item = theta[0], np.r_[0.0, theta[1:P]], theta[P:]
    p = 1 / (1 + np.exp(-(level + item[:, None] + position)))
    likelihood = (y * np.log(p) + (n - y) * np.log(1 - p)).sum()
    return likelihood - (item**2).sum() / (2 * spread**2) - (position**2).sum() / (2 * POSITION_SPREAD**2)


@pytest.fixture(scope="module")
def small():
    """5 items, 3 positions, and the fit at spread 0.7."""
    n, y, _ = draw(np.random.default_rng(3), 5, 200, 0.7, (0, -0.4, -0.8), -2.0)
    return n, y, fit_clicks(n, y, 0.7)


def theta_of(model):
    return np.r_[model.level, model.position[1:], model.item]


def hessian(n, y, spread, theta, h=1e-3):
    """Numerical, by central differences."""
    out = np.empty((len(theta), len(theta)))
    steps = h * np.eye(len(theta))
    for i, a in enumerate(steps):
        for j, b in enumerate(steps):
            corners = [log_posterior(theta + s * a + t * b, n, y, spread) * s * t for s in (1, -1) for t in (1, -1)]
            out[i, j] = sum(corners) / (4 * h * h)
    return out


def test_the_mode_has_no_slope(small):
    n, y, model = small
    theta = theta_of(model)
    for i in range(len(theta)):
        step = 1e-5 * (np.arange(len(theta)) == i)
        slope = (log_posterior(theta + step, n, y, 0.7) - log_posterior(theta - step, n, y, 0.7)) / 2e-5
        assert abs(slope) < 1e-4


def test_intervals_come_from_the_curvature(small):
    n, y, model = small
    theta = theta_of(model)
    covariance = np.linalg.inv(-hessian(n, y, 0.7, theta))
    # A contrast of positions.
    contrast = np.array([0, -1, 1, 0, 0, 0, 0, 0.0])
    found = model.contrast(2, 1)
    assert found.value == pytest.approx(contrast @ theta)
    assert found.high - found.value == pytest.approx(Z * math.sqrt(contrast @ covariance @ contrast), rel=1e-4)
    # The rate of one cell: the interval of its log-odds, mapped.
    cell = np.zeros((5, 3))
    cell[3, 2] = 1
    x = np.array([1, 0, 1, 0, 0, 0, 1, 0.0])
    reach = Z * math.sqrt(x @ covariance @ x)
    expected = [1 / (1 + math.exp(-(x @ theta + s * reach))) for s in (0, -1, 1)]
    assert list(model.rate(cell)) == pytest.approx(expected, rel=1e-4)

    # A mean over cells, by the delta method with a numerical gradient.
    def mean_logit(theta):
        p = 1 / (1 + np.exp(-(theta[0] + theta[3:, None] + np.r_[0.0, theta[1:3]])))
        mean = (n * p).sum() / n.sum()
        return math.log(mean / (1 - mean))

    gradient = [(mean_logit(theta + e) - mean_logit(theta - e)) / 2e-5 for e in 1e-5 * np.eye(8)]
    reach = Z * math.sqrt(gradient @ covariance @ np.array(gradient))
    low = 1 / (1 + math.exp(-(mean_logit(theta) - reach)))
    assert model.rate(n).low == pytest.approx(low, rel=1e-4)


def test_log_marginal_is_laplaces_formula(small):
    n, y, _ = small
    values = []
    for spread in (0.3, 0.7, 1.5):
        theta = theta_of(fit_clicks(n, y, spread))
        _, log_det = np.linalg.slogdet(-hessian(n, y, spread, theta))
        values.append(log_posterior(theta, n, y, spread) - 5 * math.log(spread) - log_det / 2)
    found = [fit_clicks(n, y, spread).log_marginal for spread in (0.3, 0.7, 1.5)]
    np.testing.assert_allclose(np.diff(found), np.diff(values), atol=1e-3)


def test_log_marginal_against_quadrature():
    """The integral over item effects and level, by brute force, for logs as sparse as the real ones."""
    n, y, _ = draw(np.random.default_rng(0), 40, 300, 0.5, (0,), -5.0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    levels = np.linspace(-7.5, -3.5, 401)

    def exact(spread):
        eta = levels[:, None, None] + spread * nodes
        inner = np.exp(y[None] * eta - n[None] * np.log1p(np.exp(eta)) + 8 * y[None])  # times a constant, for the range
        return math.log(np.exp(np.log((inner * weights).sum(axis=2)).sum(axis=1) - 300).sum())

    spreads = (0.05, 0.3, 0.6, 1.0)
    laplace = [fit_clicks(n, y, spread).log_marginal for spread in spreads]
    # Laplace's error at spread 1 is about 0.3; the likelihood itself falls by several units there.
    np.testing.assert_allclose(np.diff(laplace), np.diff([exact(s) for s in spreads]), atol=0.3)


def test_one_item_has_a_closed_form():
    n, y = np.array([[1000.0]]), np.array([[30.0]])
    model = fit_clicks(n, y, 0.0)
    assert model.probability[0, 0] == pytest.approx(0.03)
    assert model.item[0] == 0
    rate = model.rate(np.ones((1, 1)))
    reach = Z / math.sqrt(1000 * 0.03 * 0.97)
    assert rate.low == pytest.approx(1 / (1 + math.exp(-(math.log(0.03 / 0.97) - reach))))


def test_shrinkage_by_hand():
    """Two items that mirror each other: level 0, and item effects that solve y - n sigmoid(b) = b / spread^2."""
    model = fit_clicks(np.array([[50.0], [50.0]]), np.array([[40.0], [10.0]]), 0.5)
    assert model.level == pytest.approx(0, abs=1e-9)
    grid = np.linspace(0, 2, 200_001)
    by_grid = grid[np.argmin(np.abs(40 - 50 / (1 + np.exp(-grid)) - grid / 0.25))]
    assert model.item == pytest.approx([by_grid, -by_grid], abs=1e-4)


@pytest.mark.parametrize("start", [1e-4, 0.5, 0.9999])
def test_extreme_rates_converge(start):
    n = np.full((3, 2), 1e5)
    model = fit_clicks(n, np.round(n * start), 1.0)
    assert model.probability == pytest.approx(np.full((3, 2), start), rel=0.02)


def test_known_parameters_are_recovered():
    """Over 12 simulated logs: spread, positions, and the coverage of all intervals."""
    rng = np.random.default_rng(11)
    position, covered, spreads, spread_covered, effects = (0.0, -0.3, -0.6), [], [], [], []
    for _ in range(12):
        n, y, truth = draw(rng, 60, 500, 0.6, position, -3.5)
        model = fit_clicks(n, y)
        spreads.append(model.spread)
        low, high = spread_interval(n, y)
        spread_covered.append(low <= 0.6 <= high)
        effects.append(model.position)
        for i in range(60):
            rate = model.rate((np.arange(60) == i)[:, None] * np.ones(3))
            covered.append(rate.low <= truth[i].mean() <= rate.high)
        for p in (1, 2):
            contrast = model.contrast(p, 0)
            covered.append(contrast.low <= position[p] <= contrast.high)
    assert np.mean(spreads) == pytest.approx(0.6, abs=0.05)
    assert np.mean(spread_covered) >= 0.75
    assert np.mean(effects, axis=0) == pytest.approx(position, abs=0.06)
    assert 0.92 <= np.mean(covered) <= 0.98  # of 744


def test_equal_items_are_not_told_apart():
    n, y, _ = draw(np.random.default_rng(4), 60, 100, 0.0, (0, 0, 0), -4.5)
    alone, regular = best_spread(n, y, penalty=0.0), best_spread(n, y)
    low, high = spread_interval(n, y)
    assert low == 0
    assert alone < regular < high < LARGEST_SPREAD


def test_spread_is_where_the_marginal_likelihood_peaks():
    n, y, _ = draw(np.random.default_rng(5), 50, 300, 0.6, (0,), -3.0)
    grid = np.arange(0.3, 1.2, 0.005)
    log_marginal = np.array([fit_clicks(n, y, s).log_marginal for s in grid])
    assert best_spread(n, y, penalty=0.0) == pytest.approx(grid[np.argmax(log_marginal)], abs=0.005)
    assert best_spread(n, y) == pytest.approx(grid[np.argmax(log_marginal + np.log(grid))], abs=0.005)
    low, high = spread_interval(n, y)
    inside = grid[2 * (log_marginal.max() - log_marginal) <= Z**2]
    assert (low, high) == pytest.approx((inside[0], inside[-1]), abs=0.01)


def test_counts_that_cannot_be_fitted():
    n = np.full((2, 3), 10.0)
    for clicks, message in [
        (np.zeros((2, 3)), "some, but not all"),
        (n, "some, but not all"),
        (n + 1, "lie between"),
        (np.ones((3, 2)), "shape"),
        (n * np.nan, "lie between"),
    ]:
        with pytest.raises(FitError, match=message):
            fit_clicks(n, clicks)


def test_wilson_inverts_the_score_test():
    for clicks, impressions in ((3, 200), (0, 50), (50, 50), (40, 100)):
        e = wilson(clicks, impressions)
        assert e.low <= e.value <= e.high
        for end in (e.low, e.high):
            if 0 < end < 1:  # |estimate - p| is Z standard errors at p
                assert abs(e.value - end) == pytest.approx(Z * math.sqrt(end * (1 - end) / impressions))
    assert wilson(0, 50).low == 0
    assert wilson(50, 50).high == 1
    assert wilson(0, 0) == (0.0, 0.0, 1.0)


def test_cross_validation_by_hand():
    """Folds have equal shares of clicks, so that the constant's loss is the entropy of the click rate."""
    rng = np.random.default_rng(0)
    logs = logs_of(np.full((4, 3), 50.0), np.full((4, 3), 5.0), rng)
    scores = {s.model: s for s in cross_validate(logs, folds=5)}
    entropy = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    assert scores["constant"].log_loss == pytest.approx(entropy, rel=1e-12)
    assert scores["fitted"] == ("fitted", scores["fitted"].log_loss, 0.0, 0.0)
    for score in scores.values():
        assert score.behind == pytest.approx(score.log_loss - scores["fitted"].log_loss)
    assert cross_validate(logs, folds=5) == tuple(scores.values())
    assert cross_validate(logs, folds=5, seed=1) != tuple(scores.values())
    with pytest.raises(FitError, match="folds: must be at most the 60 clicks, got 61"):
        cross_validate(logs, folds=61)
    with pytest.raises(ConfigError, match="folds"):
        cross_validate(logs, folds=1)


def test_folds_are_held_out(monkeypatch):
    """No model sees a row that it predicts; each row is predicted once; each fold has its share of clicks."""
    logs, seen = logs_of(np.full((4, 3), 50.0), np.full((4, 3), 5.0), np.random.default_rng(0)), []

    def spy(impressions, clicks):
        seen.append((impressions, clicks))
        return np.full(impressions.shape, 0.5)

    monkeypatch.setattr("recgym.fit.validation.MODELS", {"fitted": spy})
    cross_validate(logs, folds=5)
    assert [(n.sum(), y.sum()) for n, y in seen] == [(480, 48)] * 5
    impressions, clicks = logs.counts()
    np.testing.assert_array_equal(sum(impressions - n for n, _ in seen), impressions)
    np.testing.assert_array_equal(sum(clicks - y for _, y in seen), clicks)


def test_findings_follow_the_data():
    """With strong effects and many clicks, the report says so, and the world is close to the truth."""
    rng = np.random.default_rng(2)
    n, y, truth = draw(rng, 30, 400, 1.0, (0, -0.7, -1.4), -2.0)
    world, report = fit_open_bandit(logs_of(n, y, rng), folds=5)
    assert report.findings[0].startswith("Items differ: their log-odds spread by")
    assert report.findings[1].endswith("differs from the first's by more than chance: 2, 3.")
    assert "better than a constant click rate" in report.findings[2]
    assert "no better" not in report.findings[2]
    assert report.spread.low > 0.5
    assert world.choice.examination[0] == 1  # type: ignore[attr-defined]
    fitted = fit_clicks(n, y).probability
    assert np.corrcoef(fitted.ravel(), truth.ravel())[0, 1] > 0.97
    # At click rates of 10 % the multiplicative world and the additive fit differ, and the report says by how much.
    simulated = probabilities(world)
    assert np.abs(simulated - fitted).max() == pytest.approx(report.position_based_error, rel=1e-3)
    assert report.position_based_error > 1e-3


def probabilities(world: World):
    """(N, P) click probabilities of a fitted world, each item shown alone in each position."""
    users = world.arrive(recgym.mix([0]))
    N, S = len(world.catalog), world.slate_size
    out = np.empty((N, S))
    for i in range(N):
        for s in range(S):
            slate = np.full((1, S), -1, np.int32)
            slate[0, s] = i
            out[i, s] = world.step(users, slate, world.noise(users))[1].probability[0, s]
    return out


@pytest.fixture(scope="module")
def tiny():
    return fit_open_bandit(read_open_bandit(TINY))


def test_world_has_the_fitted_click_probabilities(tiny):
    world, report = tiny
    fitted = fit_clicks(*read_open_bandit(TINY).counts()).probability
    simulated = probabilities(world)
    assert np.abs(simulated - fitted).max() <= report.position_based_error + 1e-6
    np.testing.assert_allclose(simulated.mean(axis=0), fitted.mean(axis=0), rtol=1e-4)
    assert max(world.choice.examination) == 1  # type: ignore[attr-defined]


def test_world_is_made_as_said(tiny):
    world, report = tiny
    logs = read_open_bandit(TINY)
    np.testing.assert_allclose(np.linalg.norm(world.catalog.embedding, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(world.catalog.topic, logs.items["item_feature_3"])
    assert world.catalog.visible == ("popularity", "item_feature_0")
    assert np.abs(world.catalog.attributes).max() < 3
    n, y = (c.sum(axis=1) for c in logs.counts())
    rate = y.sum() / n.sum()
    np.testing.assert_allclose(world.catalog["popularity"], np.log((y + 1) / (n + 1 / rate) / rate) / 2, atol=1e-5)
    users = world.arrive(recgym.mix(range(50)))
    assert not users.known.any()
    assert not users.profile.any()
    hour = [(int(str(t)[11:13]) + 9) % 24 for t in logs.timestamp]  # in Japan
    assert world.population.hours == tuple(float(hour.count(h)) for h in range(24))
    smaller, other = fit_open_bandit(logs, dimensions=8, candidates=80, folds=5, seed=7)
    assert smaller.catalog.embedding.shape == (80, 8)
    assert smaller.n_candidates == 80
    assert other.command.endswith("--policies random bts --dimensions 8 --candidates 80 --folds 5 --seed 7")
    assert report.command.endswith("-o WORLD --campaign all --policies random bts")


def test_report_adds_up(tiny):
    _, report = tiny
    assert (report.overall.impressions, report.overall.clicks) == (600, 80)
    for rows in (report.by_policy, report.by_position, report.by_item):
        assert sum(row.impressions for row in rows) == 600
        assert sum(row.clicks for row in rows) == 80
        for row in rows:
            assert row.logged.low <= row.logged.value <= row.logged.high
            assert 0 < row.fitted.low < row.fitted.value < row.fitted.high < 1
    # The level and the positions are hardly shrunk, so that fitted and logged rates agree.
    for row in (report.overall, *report.by_position):
        assert row.fitted.value == pytest.approx(row.logged.value, rel=0.01)
    assert report.validation[-1].model == "fitted"


def test_report_goes_through_json(tiny, tmp_path):
    _, report = tiny
    assert FitReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    report.save(tmp_path)
    assert FitReport.load(tmp_path) == report
    text = (tmp_path / "report.md").read_text()
    assert text == report.to_markdown()
    assert report.summary() in text
    for row in report.by_item:
        assert f"| {row.name} " in text
    with pytest.raises(FitError, match="report: must have the fields"):
        FitReport.from_dict({**report.to_dict(), "more": 1})


def test_building_twice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        world, report = fit_open_bandit(read_open_bandit(TINY))
        world.save(tmp_path / name)
        report.save(tmp_path / name)
    for file in ("world.json", "arrays.npz", "report.json", "report.md"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_arguments_and_logs_are_checked():
    logs = read_open_bandit(TINY)
    with pytest.raises(FitError, match="items: lacks the item context item_feature_2"):
        fit_open_bandit(dataclasses.replace(logs, items={k: v for k, v in logs.items.items() if k != "item_feature_2"}))
    with pytest.raises(FitError, match="some, but not all"):
        fit_open_bandit(dataclasses.replace(logs, click=np.zeros(600, np.bool_)))
    with pytest.raises(FitError, match="position: must be logged at each of the 4 positions, but 4 never is"):
        fit_open_bandit(dataclasses.replace(logs, n_positions=4))
    for spread in (-0.1, math.nan):
        with pytest.raises(ConfigError, match="spread"):
            fit_clicks(*logs.counts(), spread)
    for name, value in dict(dimensions=0, candidates=81, folds=1, seed=-1).items():
        with pytest.raises(ConfigError, match=name):
            fit_open_bandit(logs, **{name: value})


def same(a, b) -> bool:
    """Equal, but for the last digits of numbers, which differ between machines."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-6) if isinstance(a, float) else a == b


@needs_logs
def test_shipped_world_equals_a_rebuild(tmp_path, capsys):
    command = FitReport.load(SHIPPED).command.split()[3:]
    assert main([{"DIR": str(FULL), "WORLD": str(tmp_path)}.get(word, word) for word in command]) == 0
    capsys.readouterr()
    new, old = (json.loads((folder / "world.json").read_text()) for folder in (tmp_path, SHIPPED))
    new.pop("arrays")  # the digest: last digits of numbers differ between machines
    assert same(new, old)
    with np.load(tmp_path / "arrays.npz") as new, np.load(SHIPPED / "arrays.npz") as old:
        assert set(new) == set(old)
        for name in new:
            np.testing.assert_allclose(new[name], old[name], rtol=1e-4, atol=1e-5)
    new, old = (FitReport.load(folder).to_dict() | {"version": ""} for folder in (tmp_path, SHIPPED))
    assert same(new, old)


def test_shipped_files():
    files = {file.name: file.stat().st_size for file in SHIPPED.iterdir()}
    assert set(files) == {"world.json", "arrays.npz", "report.json", "report.md", "PROVENANCE.md"}
    assert sum(files.values()) < 100_000
    report = FitReport.load(SHIPPED)
    assert (report.overall.impressions, report.overall.clicks, len(report.by_item)) == (20_000, 80, 80)
    assert report.command in (SHIPPED / "PROVENANCE.md").read_text()
    assert "CC BY 4.0" in report.source["licence"]
    assert fitted_worlds()["open-bandit"] == SHIPPED


def test_shipped_world_plays():
    env = gym.make("recgym/Ecommerce-v0", world="open-bandit")
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert env.action_space == gym.spaces.Discrete(20)
    for k in range(100):
        observation, reward, terminated, truncated, _ = env.step(k % 20)
        assert env.observation_space.contains(observation)
        assert reward in (0.0, 1.0)
        assert not terminated
    assert truncated
    whole = gym.make("recgym/EcommerceSlate-v0", world="open-bandit", slate_size=3, candidates="all")
    assert whole.action_space == gym.spaces.MultiDiscrete([80] * 3)


def test_shipped_world_has_no_fourth_position():
    with pytest.raises(ConfigError, match="at most the 3 positions"):
        gym.make("recgym/EcommerceSlate-v0", world="open-bandit")
    with pytest.raises(ConfigError, match="at most the 3 positions"):
        load_world("open-bandit", slate_size=4)


def test_simulated_click_rates_are_the_fitted_ones():
    """204,800 random slates: clicks by position and, over positions, of the better and the worse half of the items."""
    report = FitReport.load(SHIPPED)
    world = load_world("open-bandit")
    env = RecVectorEnv(world, 2048, threads=1)
    env.reset(seed=0)
    rate = np.array([row.fitted.value for row in report.by_item])  # of each item, averaged over positions
    factor = np.array([e.value for e in report.examination]) / np.mean([e.value for e in report.examination])
    better = rate > np.median(rate)
    shown, clicks, expected = np.zeros((3, 2)), np.zeros((3, 2)), np.zeros((3, 2))
    action = np.tile(np.arange(3), (2048, 1))  # candidates are in random order
    for _ in range(100):
        info = env.step(action)[4]
        for half in (0, 1):
            mine = better[info["slate"]] == half
            shown[:, half] += mine.sum(axis=0)
            clicks[:, half] += (info["click"] & mine).sum(axis=0)
            expected[:, half] += (rate[info["slate"]] * factor * mine).sum(axis=0)
    assert shown.sum() == 3 * 204_800
    for got, wanted in ((clicks.sum(axis=1), expected.sum(axis=1)), (clicks.sum(axis=0), expected.sum(axis=0))):
        np.testing.assert_array_less(np.abs(got - wanted), 4 * np.sqrt(wanted))
    # Under a uniform policy the mean rates are those of the fit by position, whose intervals are wide.
    for p, row in enumerate(report.by_position):
        assert row.fitted.low < clicks[p].sum() / shown[p].sum() < row.fitted.high


def test_command_fits_a_world(tmp_path, capsys):
    folder = tmp_path / "my-world"
    assert main(["fit", "open-bandit", str(TINY), "-o", str(folder), "--policies", "bts", "--folds", "5"]) == 0
    out = capsys.readouterr().out
    assert "# Open Bandit Dataset, campaign all: 300 impressions, 42 clicks" in out
    assert "| position 2 " in out
    assert "What such logs cannot tell" in out
    assert {file.name for file in folder.iterdir()} == {"world.json", "arrays.npz", "report.json", "report.md"}
    report = FitReport.load(folder)
    assert report.command.endswith("--policies bts --folds 5")
    assert report.source["policies"] == ["bts"]
    world = load_world(folder)
    assert len(world.catalog) == 80
    env = gym.make("recgym/Ecommerce-v0", world=str(folder))
    env.reset(seed=0)
    env.step(0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "-o", "{out}"], "nowhere: holds no item context of policy 'random'"),
        ([str(TINY), "-o", "{out}", "--campaign", "al"], "Did you mean 'all'?"),
        ([str(TINY), "-o", "{out}", "--policies", "bts", "bts"], "policies: must be a list of names"),
        ([str(TINY), "-o", "{out}", "--candidates", "100"], "candidates: must be at most the 80 items"),
        ([str(TINY), "-o", __file__], "exists"),
    ],
)
def test_command_errors_are_one_line(arguments, message, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["fit", "open-bandit", *(a.format(out=out) for a in arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("python -m recgym: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required"),
        (["wrlds"], "wrlds"),
        (["fit", "-o", "y"], "FORMAT"),
        (["fit", "open-bandit", "x"], "-o"),
        (["fit", "open-bandit", "x", "-o", "y", "--seed", "one"], "one"),
    ],
)
def test_wrong_usage_is_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    captured = capsys.readouterr()
    assert stop.value.code == 2
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_command_lists(capsys):
    assert main(["worlds"]) == 0
    out = capsys.readouterr().out
    for name in ("ecommerce", "news", "livestream", "open-bandit"):
        assert any(line.startswith(f"{name} ") for line in out.splitlines())
    assert "Fitted to logs: Open Bandit Dataset, campaign all." in out
    assert main(["envs"]) == 0
    assert set(recgym.ENV_IDS) <= set(capsys.readouterr().out.split())


def test_a_report_that_is_none(tmp_path: Path) -> None:
    good = FitReport.load(SHIPPED).to_dict()
    changes: list[dict[str, Any]] = [
        {"spread": 1.0}, {"folds": "ten"}, {"folds": True}, {"overall": {}}, {"by_item": [1]}, {"findings": "x"}, {"position": {}},
        {"likeliest_spread": None}, {"source": []}, {"more": 1},
    ]  # fmt: skip
    for change in changes:
        write_atomically(tmp_path / "report.json", json.dumps({**good, **change}).encode())
        with pytest.raises(FitError, match="report"):
            FitReport.load(tmp_path)
    for content in (b"", b"\xff", b"[" * 9999, b'{"folds": NaN}'):
        write_atomically(tmp_path / "report.json", content)
        with pytest.raises(ConfigError, match=r"report\.json"):
            FitReport.load(tmp_path)


def command(arguments: list[str], python: tuple[str, ...] = (), **variables: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, *python, "-m", "recgym", *arguments]
    return subprocess.run(words, env={**os.environ, **variables}, capture_output=True, text=True, errors="replace")


def test_a_full_disk_leaves_no_world_without_its_report(tmp_path: Path) -> None:
    """Files may grow to 2 kB: the report cannot be written, so there must be no world either."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); from recgym.__main__ import main;"
        f"sys.exit(main(['fit', 'open-bandit', {str(TINY)!r}, '-o', {str(tmp_path / 'w')!r}, '--policies', 'bts', '--folds', '5']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert not (tmp_path / "w" / "world.json").exists()
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp932"])
def test_any_terminal(encoding: str, tmp_path: Path) -> None:
    arguments = ["fit", "open-bandit", str(TINY), "-o", str(tmp_path / "w"), "--policies", "bts", "--folds", "5"]
    done = command(arguments, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert "Written to" in done.stdout
    assert (tmp_path / "w" / "report.json").is_file()


def test_without_docstrings_and_without_a_reader() -> None:
    done = command(["worlds"], ("-OO",))
    assert done.returncode == 0, done.stderr
    assert "open-bandit" in done.stdout
    pipe = f"{sys.executable} -m recgym envs | true"
    done = subprocess.run(["bash", "-c", f"{pipe}; exit ${{PIPESTATUS[0]}}"], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode in (0, 1)
