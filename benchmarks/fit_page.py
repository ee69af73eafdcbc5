"""The report of a fitted world as one HTML page, in the look of the benchmark page; pictures are inline SVG, and nothing is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmarks.behaviour_page import chapters
from benchmarks.page import INK, Chart, Rows, Style, picture, render
from recgym.fit.scores import HeldOut
from recgym.fit.world_report import WorldReport, origin_lines, percent
from recgym.logs.behaviour import Pair


def fit_page(report: WorldReport, pairs: Sequence[Pair] = (), folder: str = "WORLD") -> str:
    """The page, as HTML.

    Args:
        report: of the fit. pairs: behaviour logged beside simulated. folder: of the world, for the lines of Python that make its
            environments.
    """
    scores, parameters = report.prediction_rows(), report.parameter_rows()
    cells = [
        (percent(c.predicted), f"{percent(c.clicked)} [{percent(c.low)}, {percent(c.high)}]", f"{c.rows:,}")
        for c in report.tested.calibration
    ]
    choices = [(name, "–" if x is None else f"{x:.5f}") for name, x in report.choices.items()]
    told = len(choices) > 1 and any(x is not None for x in report.choices.values())
    return render(
        "fit.html",
        title=f"A world fitted to {report.title}",
        report=report,
        charts=charts_of(report.tested),
        scores=Rows("Scores on the held-out rows", *scores, words=2) if scores[1] else None,
        calibration=Rows("Calibration of the fitted model", ("predicted", "clicked", "rows"), cells) if cells else None,
        choices=Rows("Choice models, by the mean log-likelihood of a held-out slate", ("choice model", "log-likelihood"), choices) if told else None,
        parameters=Rows("Parameters", *parameters, words=1) if parameters[1] else None,
        parts=Rows("Parts of the world", ("part", "kind"), [(k, str(v)) for k, v in report.world.get("parts", {}).items()], words=2),
        chapters=chapters(pairs),
        play="\n".join(report.play(folder)),
        origin=[*origin_lines(report.source), f"settings: {', '.join(f'{k} {v}' for k, v in report.settings.items())}",
                f"made with recgym {report.version} in {report.seconds:,.0f} s"],
    )  # fmt: skip


def charts_of(tested: HeldOut) -> list[Chart]:
    """Pictures of the scores."""
    if not tested.scores:
        return []
    height = 0.9 + 0.34 * len(tested.scores)
    about = "Log loss above that of the fitted model, on the same rows; right of 0 is worse. Lines are 95 % intervals over users."
    charts = [Chart("Log loss, against the fitted model", picture(lambda axis: _behind(axis, tested), height), about)]
    about = "The chance that a clicked row is put above one that was not clicked: 0.5 is a guess, 1 is perfect."
    charts.append(Chart("AUC", picture(lambda axis: _aucs(axis, tested), height), about))
    about = "Tenths of the rows by their predicted chance of a click, and the share that was clicked. On the line, predictions are right."
    charts.append(Chart("Calibration of the fitted model", picture(lambda axis: _calibration(axis, tested)), about))
    return charts


def _names(axis: Axes, tested: HeldOut) -> None:
    axis.set_yticks(range(len(tested.scores)), [score.model for score in tested.scores])
    axis.set_ylim(len(tested.scores) - 0.4, -0.6)


def _dot(axis: Axes, y: int, value: float, low: float, high: float, name: str) -> None:
    style = Style(0 if name == "fitted" else 1)
    if math.isfinite(low) and math.isfinite(high):
        axis.hlines(y, low, high, color=style.colour, linewidth=2.5)
    axis.plot(value, y, "o", color=style.colour, markersize=7)


def _behind(axis: Axes, tested: HeldOut) -> None:
    for y, s in enumerate(tested.scores):
        _dot(axis, y, 1000 * s.behind, 1000 * s.behind_low, 1000 * s.behind_high, s.model)
    axis.axvline(0, color=INK, linewidth=1, alpha=0.5)
    _names(axis, tested)
    axis.set_xlabel("millinats per row more than fitted")


def _aucs(axis: Axes, tested: HeldOut) -> None:
    for y, s in enumerate(tested.scores):
        _dot(axis, y, s.auc, s.auc_low, s.auc_high, s.model)
    axis.axvline(0.5, color=INK, linewidth=1, alpha=0.5)
    _names(axis, tested)
    axis.set_xlabel("AUC")


def _calibration(axis: Axes, tested: HeldOut) -> None:
    x, y, low, high = np.array([bin[:4] for bin in tested.calibration]).T
    top = 1.3 * max(float(x.max()), float(y.max()))  # an interval that goes far beyond is cut
    axis.plot([0, top], [0, top], "--", color=INK, linewidth=1, alpha=0.5)
    known = np.isfinite(low) & np.isfinite(high)
    axis.vlines(x[known], low[known], high[known], color=Style(0).colour, linewidth=2)
    axis.plot(x, y, "o-", color=Style(0).colour, markersize=5, linewidth=1.2)
    axis.set_xlim(0, 1.08 * float(x.max()))
    axis.set_ylim(0, top)
    for which in (axis.xaxis, axis.yaxis):
        which.set_major_locator(MaxNLocator(5))
        which.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.3g} %"))
    axis.set_xlabel("predicted")
    axis.set_ylabel("clicked")
