"""Records rliable's statistics of made-up scores.

    python record_rliable.py OUT_DIR   # writes rliable.npz

Package: `rliable` 1.2.0, run in a virtual environment of its own. It needs pandas 2: `arch`, which it imports, breaks
with pandas 3. Its bootstrap draws from the global `np.random`, whatever `random_state` it is given; here that generator
is seeded, so that a rerun writes the same numbers. Paper: Agarwal et al., NeurIPS 2021 (arXiv 2108.13264).

The scores are drawn by `cases` below and stored, so that nothing depends on NumPy's streams. For each case C, of two
agents with n and k runs on m tasks:
    C_x (n, m) float64, C_y (k, m) float64    scores; case "ties" has equal ones, within and between agents
    C_iqm, C_mean, C_median, C_gap () float64  of x; optimality gap to 1
    C_improvement () float64                   probability that x improves on y
    C_profile (t,) float64                     share of x above each of `thresholds` (t,) float64
    C_intervals (4, 2) float64                 95 % percentile intervals of IQM, mean, median and gap of x
    C_improvement_interval (2,) float64        and of the probability of improvement
    C_profile_interval (2, t) float64          and of the profile
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

REQUIREMENTS = ("rliable==1.2.0", "numpy==2.4.6", "scipy==1.17.1", "arch==7.2.0", "pandas==2.3.3")
RESAMPLES = 10_000
THRESHOLDS = np.linspace(-0.5, 2.0, 26)


def cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scores of two agents, (runs, tasks) each, by name."""
    rng = np.random.default_rng(0)

    def draw(runs: int, tasks: int, level: float) -> np.ndarray:
        return level + 0.3 * rng.standard_normal(tasks) + 0.2 * rng.standard_normal((runs, tasks))

    return {
        "few": (draw(3, 3, 0.6), draw(5, 3, 0.5)),
        "one_task": (draw(7, 1, 0.9), draw(7, 1, 0.7)),
        "many": (draw(10, 6, 0.8), draw(10, 6, 0.8)),
        "skewed": (rng.gamma(2.0, 0.4, (8, 5)), rng.gamma(2.0, 0.3, (4, 5))),
        "ties": (rng.integers(0, 5, (6, 4)) / 4, rng.integers(0, 5, (6, 4)) / 4),
    }


def main(folder: Path) -> None:
    """Write the fixture."""
    from rliable import library, metrics

    def aggregates(scores: np.ndarray) -> np.ndarray:
        return np.array([function(scores) for function in functions])

    functions = (metrics.aggregate_iqm, metrics.aggregate_mean, metrics.aggregate_median,
                 metrics.aggregate_optimality_gap)  # fmt: skip
    out = {"thresholds": THRESHOLDS}
    np.random.seed(0)  # noqa: NPY002
    for name, (x, y) in cases().items():
        points, intervals = library.get_interval_estimates({"x": x}, aggregates, reps=RESAMPLES)
        improvement, its_interval = library.get_interval_estimates(
            {"x": [x, y]}, lambda a, b: np.array([metrics.probability_of_improvement(a, b)]), reps=RESAMPLES // 5
        )
        profile, band = library.create_performance_profile({"x": x}, THRESHOLDS, reps=RESAMPLES // 5)
        values = {
            "x": x, "y": y, **dict(zip(("iqm", "mean", "median", "gap"), points["x"], strict=True)),
            "intervals": intervals["x"].T, "improvement": improvement["x"][0],
            "improvement_interval": its_interval["x"][:, 0], "profile": profile["x"], "profile_interval": band["x"],
        }  # fmt: skip
        out |= {f"{name}_{key}": np.asarray(value, np.float64) for key, value in values.items()}
        print(name, {key: np.round(value, 4).tolist() for key, value in values.items() if key not in "x y profile"})
    np.savez_compressed(folder / "rliable.npz", **out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
