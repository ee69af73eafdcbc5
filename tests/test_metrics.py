"""Statistics: hand-worked numbers, brute force, rliable's own results, and the coverage of the intervals."""

from __future__ import annotations

import math
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest

from benchmarks import metrics
from recgym.errors import ConfigError

RECORDED = np.load(Path(__file__).parent / "reference" / "data" / "rliable.npz")
CASES = sorted({name.removesuffix("_x") for name in RECORDED.files if name.endswith("_x")})
AGGREGATES = {
    "iqm": metrics.iqm, "mean": metrics.mean, "median": metrics.median, "gap": metrics.optimality_gap,
}  # fmt: skip


def runs_of(name: str) -> list[np.ndarray]:
    """A recorded (runs, tasks) matrix as we take it."""
    return list(RECORDED[name].T)


# By hand


def test_hand_worked_statistics():
    assert metrics.iqm([[8, 1, 2, 3], [100, 5, 4, -9]]) == (2 + 3 + 4 + 5) / 4
    assert metrics.iqm([[1, 2, 6]]) == 3, "of three scores none is left out"
    assert metrics.iqm([np.array([[0, 1, 3, 9], [5, 5, 5, 5]])]).tolist() == [2, 5]
    assert metrics.mean([[0, 2], [3, 4, 8]]) == (1 + 5) / 2, "tasks count alike, whatever their runs"
    assert metrics.median([[0, 2], [3, 4, 8], [10]]) == 5
    assert metrics.optimality_gap([[0.5, 1.5], [1.0, 0.2]]) == pytest.approx(1 - 2.7 / 4)
    assert metrics.optimality_gap([[0.5, 1.5]], target=2.0) == 1
    assert metrics.normalised([2.0, 4.0, 7.0], 2.0, 6.0).tolist() == [0, 0.5, 1.25]
    assert metrics.standard_error([1, 2, 3, 4]) == pytest.approx(math.sqrt(5 / 3) / 2)
    assert metrics.standard_error([7]) == 0
    with pytest.raises(ConfigError, match="best score: must be above the random score 2, got 2"):
        metrics.normalised(1.0, 2.0, 2.0)


def test_comparisons_by_hand():
    assert metrics.probability_of_improvement([[3, 1]], [[2, 0, 1]]) == (3 + 1 + 0.5) / 6
    assert metrics.probability_of_improvement([[3, 1], [0.0]], [[2, 0, 1], [1.0]]) == (4.5 / 6 + 0) / 2
    assert metrics.performance_profile([[0.1, 0.5], [0.9]], [0.0, 0.5, 1.0]) == pytest.approx([1, 1 / 3, 0])
    assert metrics.steps_to_reach([10, 20, 30], [0.2, 0.6, 0.5], 0.5) == 20
    assert metrics.steps_to_reach([10, 20, 30], [0.2, 0.6, 0.5], 0.7) == math.inf
    assert metrics.steps_to_reach([], [], 0.7) == math.inf


def test_ratio_is_the_delta_method():
    value, error = metrics.ratio(6.0, 0.3, 4.0, 0.1)
    assert value == 1.5
    assert error == pytest.approx(1.5 * math.sqrt(0.05**2 + 0.025**2))
    rng = np.random.default_rng(0)
    simulated = (6 + 0.3 * rng.standard_normal(100_000)) / (4 + 0.1 * rng.standard_normal(100_000))
    assert error == pytest.approx(simulated.std(), rel=0.02)
    assert metrics.ratio(0.0, 0.3, 4.0, 0.1)[1] == pytest.approx(0.075)


# rliable


@pytest.mark.parametrize("case", CASES)
def test_parity_with_rliable(case):
    x, y = runs_of(f"{case}_x"), runs_of(f"{case}_y")
    for name, function in AGGREGATES.items():
        assert function(x) == pytest.approx(RECORDED[f"{case}_{name}"], abs=1e-9), name
    improvement = metrics.probability_of_improvement(x, y)
    assert improvement == pytest.approx(RECORDED[f"{case}_improvement"], abs=1e-9)
    profile = metrics.performance_profile(x, RECORDED["thresholds"])
    assert profile == pytest.approx(RECORDED[f"{case}_profile"], abs=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_percentile_intervals_agree_with_those_of_rliable(case):
    """Quantiles of 10,000 resamples against those of as many others: a few per cent of the width."""
    x, y = runs_of(f"{case}_x"), runs_of(f"{case}_y")
    options = {"rng": np.random.default_rng(1), "interval": "percentile"}
    for name, recorded in zip(AGGREGATES, RECORDED[f"{case}_intervals"], strict=True):
        found = metrics.bootstrap_interval(x, AGGREGATES[name], resamples=10_000, **options)
        assert found == pytest.approx(recorded, abs=0.06 * np.ptp(recorded)), name
    improvement = lambda runs: metrics.probability_of_improvement(runs[: len(x)], runs[len(x) :])  # noqa: E731
    found = metrics.bootstrap_interval([*x, *y], improvement, **options)
    assert found == pytest.approx(RECORDED[f"{case}_improvement_interval"], abs=0.03)
    band = metrics.bootstrap_interval(x, lambda r: metrics.performance_profile(r, RECORDED["thresholds"]), **options)
    one_run = 1 / RECORDED[f"{case}_x"].size
    assert np.array(band) == pytest.approx(RECORDED[f"{case}_profile_interval"], abs=1.001 * one_run)


# Intervals


def test_bootstrap_is_stratified_and_reproducible():
    same = metrics.bootstrap_interval([[1, 1], [3, 3]], metrics.mean, np.random.default_rng(0))
    assert same == (2, 2), "runs of one task never stand in for those of another"
    scores = [np.random.default_rng(1).standard_normal(400), np.random.default_rng(2).standard_normal(400)]
    error = math.hypot(*map(metrics.standard_error, scores)) / 2
    by_normal_theory = (np.mean(scores) - 1.96 * error, np.mean(scores) + 1.96 * error)
    for interval in metrics.INTERVALS:
        found = metrics.bootstrap_interval(scores, metrics.mean, np.random.default_rng(3), interval=interval)
        assert found == pytest.approx(by_normal_theory, abs=0.15 * error)
    low, high = metrics.bootstrap_interval(scores, metrics.mean, np.random.default_rng(3))
    assert (low, high) == metrics.bootstrap_interval(scores, metrics.mean, np.random.default_rng(3))
    assert (low, high) != metrics.bootstrap_interval(scores, metrics.mean, np.random.default_rng(4))
    with pytest.raises(ConfigError, match="interval"):
        metrics.bootstrap_interval(scores, metrics.mean, np.random.default_rng(3), interval="bca")


def test_bootstrap_draws_the_common_error_once_a_task():
    def reach(runs: list, errors: list) -> tuple:
        return metrics.bootstrap_interval(runs, metrics.mean, np.random.default_rng(0), errors, resamples=20_000)

    assert reach([[1.0]], [0.5]) == pytest.approx((1 - 0.98, 1 + 0.98), abs=0.03)
    assert reach([[1.0] * 9], [0.5]) == pytest.approx((1 - 0.98, 1 + 0.98), abs=0.03), "more runs do not reduce it"
    assert reach([[1.0]] * 4, [0.5] * 4) == pytest.approx((1 - 0.49, 1 + 0.49), abs=0.03), "more tasks do"


def test_the_interval_of_a_mean_is_that_of_student():
    """Two or more runs of one task: mean +- t s / sqrt(n), t from printed tables."""
    for n, t in ((2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262), (31, 2.042)):
        scores = np.random.default_rng(n).standard_normal(n)
        low, high = metrics.bootstrap_interval([scores], metrics.mean, np.random.default_rng(0), resamples=40_000)
        assert (low + high) / 2 == pytest.approx(scores.mean())
        assert (high - low) / 2 == pytest.approx(t * scores.std(ddof=1) / math.sqrt(n), rel=0.02)


def test_quantiles_of_student():
    for freedom, printed in ((1, 12.7062), (2, 4.30265), (4, 2.77645), (6, 2.44691), (30, 2.04227), (1e9, 1.95996)):
        assert metrics._student_quantile(0.975, freedom) == pytest.approx(printed, abs=2e-4)
    assert metrics._student_quantile(0.75, 1) == pytest.approx(1, abs=1e-6)
    assert metrics._student_quantile(0.5, 3.5) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("tasks", "n"), [(3, 3), (4, 5)])
@pytest.mark.parametrize("name", ["iqm", "mean"])
def test_coverage_of_a_known_distribution(tasks, n, name):
    """Normal scores, tasks of different levels: 95 % intervals hold the truth in 93 to 97 of 100; percentile ones do not.

    800 repetitions have a standard error of 0.8 %; the seed is fixed.
    """
    rng = np.random.default_rng(7)
    level = np.linspace(0.2, 0.8, tasks)
    truth = AGGREGATES[name]([rng.normal(mean, 0.1, 300_000) for mean in level])
    inside = dict.fromkeys(metrics.INTERVALS, 0)
    repetitions = 800
    for _ in range(repetitions):
        scores = [rng.normal(mean, 0.1, n) for mean in level]
        for interval in inside:
            low, high = metrics.bootstrap_interval(scores, AGGREGATES[name], rng, resamples=300, interval=interval)
            inside[interval] += low <= truth <= high
    assert 0.93 <= inside["t"] / repetitions <= 0.97
    assert inside["percentile"] / repetitions < 0.92


# Several objectives


def dominated(point: np.ndarray, points: np.ndarray) -> bool:
    return any((other >= point).all() and (other > point).any() for other in points)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_front_is_what_nothing_dominates(d):
    for seed in range(20):
        points = np.random.default_rng(seed).integers(0, 6, (12, d)).astype(float)
        assert metrics.pareto_front(points).tolist() == [not dominated(point, points) for point in points]


def test_hypervolume_by_hand():
    assert metrics.hypervolume([[2, 1], [1, 2], [0.5, 0.5]], [0, 0]) == 3
    assert metrics.hypervolume([[2, 1], [1, 2]], [1, 0]) == 1, "the second is not above the reference"
    assert metrics.hypervolume([[1, 2, 3]], [0, 0, 1]) == 4
    assert metrics.hypervolume([[3.0], [5.0]], [1.0]) == 4
    assert metrics.hypervolume([[-1, 1]], [0, 0]) == 0
    assert metrics.hypervolume(np.zeros((0, 2)), [0, 0]) == 0


@pytest.mark.parametrize("d", [2, 3])
def test_hypervolume_is_the_number_of_dominated_unit_cells(d):
    for seed in range(20):
        points = np.random.default_rng(seed).integers(0, 6, (8, d))
        cells = sum(any((point > cell).all() for point in points) for cell in product(range(6), repeat=d))
        assert metrics.hypervolume(points, np.zeros(d)) == cells


def test_half_width_is_that_of_the_bootstrap():
    for scores, error in (([1.0, 2.0, 4.0], 0.0), ([1.0], 0.5), ([3.0, 3.1, 2.7, 3.3], 0.2)):
        rng = np.random.default_rng(0)
        low, high = metrics.bootstrap_interval([scores], metrics.mean, rng, [error], resamples=40_000)
        assert metrics.half_width(scores, error) == pytest.approx((high - low) / 2, rel=0.02)
    assert metrics.half_width([1.0, 2.0, 3.0]) == pytest.approx(4.30265 / math.sqrt(3), rel=1e-4), "printed t"
    assert metrics.half_width([5.0], 2.0) == pytest.approx(1.95996 * 2, rel=1e-4), "users alone: normal"


def test_who_is_beaten_beyond_the_intervals():
    points = [[1, 4], [2, 3], [2.05, 3], [2.5, 3], [1, 4], [0, 0]]
    tight, wide = np.full((6, 2), 0.1), np.full((6, 2), 10.0)
    assert metrics.beaten(points, tight).tolist() == [False, True, True, False, False, True]
    assert metrics.beaten(points, np.full((6, 2), 0.24)).tolist() == [False, True, False, False, False, True]
    assert not metrics.beaten(points, wide).any(), "nothing is known"
    assert metrics.beaten(points, np.zeros((6, 2))).tolist() == [not on for on in metrics.pareto_front(points)]
    assert not metrics.beaten([[1, 2], [2, 1.99]], [[0.1, 0.1], [0.1, 0.1]]).any(), "less of one, though not surely"


def test_the_most_points_that_trade_off_one_objective_for_the_other():
    points = np.array([[3.0, 1], [1, 3], [2, 2], [2.05, 1.9], [0, 0]])
    reach = np.full((5, 2), 0.2)
    assert metrics.trade_offs(points, reach) == [1, 2, 0]
    assert metrics.trade_offs(points, np.full((5, 2), 0.02)) == [1, 2, 3, 0]
    assert len(metrics.trade_offs(points, np.full((5, 2), 0.6))) == 2, "the middle is no longer told apart"
    assert len(metrics.trade_offs([[1, 1]] * 5, np.zeros((5, 2)))) == 1, "five identical rows are no trade-off"
    assert len(metrics.trade_offs(points, np.full((5, 2), np.inf))) == 1
    assert metrics.trade_offs(np.zeros((0, 2)), np.zeros((0, 2))) == []
    rng = np.random.default_rng(3)
    for _ in range(50):
        points, reach = rng.random((7, 2)), rng.random((7, 2)) * 0.15
        low, high = points - reach, points + reach

        def apart(i: int, j: int, low=low, high=high) -> bool:
            return bool((low[i, 0] > high[j, 0] and low[j, 1] > high[i, 1])
                        or (low[j, 0] > high[i, 0] and low[i, 1] > high[j, 1]))  # fmt: skip

        most = max(len(s) for n in range(8) for s in combinations(range(7), n)
                   if all(apart(i, j) for i, j in combinations(s, 2)))  # fmt: skip
        found = metrics.trade_offs(points, reach)
        assert len(found) == most
        assert all(apart(i, j) for i, j in combinations(found, 2))
