"""What `fit_world` found, as plain data: for `fit.json`, for the Markdown file, for `recgym info` and for the HTML page."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import recgym
from recgym.errors import FitError
from recgym.files import read_json
from recgym.fit.report import markdown_table, plain, six_digits, typed
from recgym.fit.scores import HeldOut

if TYPE_CHECKING:
    from recgym.fit.worlds import Fitted
    from recgym.logs.behaviour import Pair
    from recgym.logs.table import Logs
    from recgym.world import World

FORMAT = "recgym-fit-1"
FILE = "fit.json"
FEW_CLICKS, FEW_USERS = 200, 50  # with fewer, next to nothing is known
UNTESTED = (
    "level",
    "examination",
    "log-odds",
    "log minutes",
    "memory",
    "half-life",
    "limit",
    "at arrival",
    "attention",
    "continuation",
    "decay",
    "spread",
    "pace",
)


class Number(NamedTuple):
    """A parameter of the world with its 95 % interval, and what it means; the ends are NaN where it has none."""

    name: str
    value: float
    low: float
    high: float
    meaning: str

    @property
    def open(self) -> bool:
        """Whether it is an effect whose interval holds 0."""
        return self.low <= 0 <= self.high and not any(word in self.name for word in UNTESTED)


class Compared(NamedTuple):
    """A section of behaviour in the logs and in the replay: how many of its points differ by more than chance, and both in words."""

    name: str
    points: int
    apart: int
    logged: str
    simulated: str
    missing: str


@dataclass(frozen=True)
class WorldReport:
    """How far to trust a fitted world.

    Args:
        title: what the logs are called. version: of recgym. command: that made it, "" if none.
        source: where the logs come from, `Logs.source`. logs: how many rows, users and so on they have.
        world: sizes, parts and objectives of the world. settings: arguments of the fit. seconds: that it took.
        findings: what the numbers say, in sentences. unknown: what the logs do not tell, and what stands in for it.
        parameters: with intervals. choices: choice model -> mean held-out log-likelihood of a slate.
        tested: scores on users who were held out.
        compared: logged beside simulated. replayed: how the simulated rows were made, "" if they were not.
        privacy: what was done to protect persons.
    """

    title: str
    version: str
    command: str
    source: dict[str, Any]
    logs: dict[str, Any]
    world: dict[str, Any]
    settings: dict[str, Any]
    seconds: float
    findings: tuple[str, ...]
    unknown: tuple[str, ...]
    parameters: tuple[Number, ...]
    choices: dict[str, Any]
    tested: HeldOut
    compared: tuple[Compared, ...]
    replayed: str
    privacy: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; numbers have six digits, and null stands for what is no finite number."""
        return {"format": FORMAT, **plain(self)}

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """The report that `to_dict` wrote.

        Raises:
            FitError: it is of another format, or a field is missing, unknown or of another type.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise FitError(
                f"{FILE}: must be of format {FORMAT}, got {str(data.get('format') if isinstance(data, dict) else data)[:60]!r}"
            )
        return typed(cls, {name: value for name, value in data.items() if name != "format"}, FILE, gaps=True)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """The report in the folder of a fitted world.

        Raises:
            ConfigError: there is no JSON. FitError: it is not such a report.
        """
        return cls.from_dict(read_json(Path(folder) / FILE, "report"))

    def prediction_rows(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and rows of the table of scores."""
        header = ("model", "knows of the user", "log loss, millinats", "more than fitted", "AUC")
        rows = []
        for s in self.tested.scores:
            behind = "–" if s.model == "fitted" else ranged(1000 * s.behind, 1000 * s.behind_low, 1000 * s.behind_high)
            rows.append((s.model, s.about, ranged(1000 * s.log_loss, 1000 * s.log_loss_low, 1000 * s.log_loss_high), behind,
                         ranged(s.auc, s.auc_low, s.auc_high)))  # fmt: skip
        return header, rows

    def parameter_rows(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and rows of the table of parameters."""
        header = ("parameter", "value and 95 % interval", "what it is")
        return header, [
            (p.name, ranged(p.value, p.low, p.high) + (" (may be 0)" if p.open else ""), p.meaning)
            for p in self.parameters
        ]

    def lines(self) -> list[str]:
        """What the logs, the world and the fit are, each in a line."""
        logs, world = self.logs, self.world
        kind = "items shown, taken or not" if logs.get("impressions") else "interactions alone"
        span = f"{str(logs.get('first', ''))[:16]} to {str(logs.get('last', ''))[:16]} UTC"
        found = [
            f"Logs: {_n(logs.get('rows'))} rows ({kind}), {_n(logs.get('clicks'))} clicks, {_n(logs.get('users'))} users,"
            f" {_n(logs.get('items'))} items, {span}.",
            f"World: {_n(world.get('users'))} users to draw from, {_n(world.get('items'))} items in {_n(world.get('topics'))} topics,"
            f" {world.get('dimensions')} dimensions; {world.get('candidates')} candidates, slates of {world.get('slate_size')},"
            f" horizon {world.get('horizon')}.",
        ]
        if logs.get("dropped"):
            found.append(
                f"{_n(logs['dropped'])} rows broke a rule, or were set aside as asked, when the logs were read."
            )
        return found

    def play(self, folder: str) -> list[str]:
        """How to make environments of the world in a folder."""
        return how_to_make(folder, int(self.world.get("slate_size", 1)))

    def to_markdown(self, folder: str = "WORLD") -> str:
        """The report as Markdown."""
        tested = self.tested
        parts = [
            f"# A world fitted to {self.title}",
            "",
            *self.lines(),
            "",
            "## In short",
            "",
            *_bullets(self.findings),
        ]
        parts += ["", "## What the logs do not tell", "", "What is named here has a default in the world, not a number from the logs.", "",
                  *(_bullets(self.unknown) or ["- Nothing that the world needs."])]  # fmt: skip
        parts += ["", "## Predicting clicks of users whom the fit has not seen", ""]
        if tested.scores:
            parts += [
                f"{tested.rows:,} rows in {tested.slates:,} slates of {tested.users:,} users, {tested.clicks:,} of them clicked."
            ]
        parts += ["", *_bullets(tested.notes), ""]
        if tested.scores:
            header, rows = self.prediction_rows()
            parts += [
                *markdown_table([*header], [[*row] for row in rows], 2),
                "",
                "Calibration of the fitted model:",
                "",
            ]
            cells = [
                [percent(c.predicted), f"{percent(c.clicked)} [{percent(c.low)}, {percent(c.high)}]", f"{c.rows:,}"]
                for c in tested.calibration
            ]
            parts += [*markdown_table(["predicted", "clicked", "rows"], cells), ""]
        if len(self.choices) > 1 and any(x is not None for x in self.choices.values()):
            cells = [[name, "–" if x is None else f"{x:.5f}"] for name, x in self.choices.items()]
            parts += ["Choice models, by the mean log-likelihood of a held-out slate (the largest was taken unless one was asked for):", "",
                      *markdown_table(["choice model", "log-likelihood"], cells), ""]  # fmt: skip
        parts += ["## Logged beside simulated", "", self.replayed, ""]
        for pair in self.compared:
            if pair.missing:
                parts += [f"- **{pair.name}**: {pair.missing}"]
                continue
            parts += [
                f"- **{pair.name}**: {apart_text(pair)}",
                f"  - Logged: {pair.logged}",
                f"  - Simulated: {pair.simulated}",
            ]
        header, rows = self.parameter_rows()
        parts += ["", "## Parameters", "", *markdown_table([*header], [[*row] for row in rows], 3)]
        parts += [
            "",
            "## Parts of the world",
            "",
            *markdown_table(["part", "kind"], [[k, str(v)] for k, v in self.world.get("parts", {}).items()], 2),
        ]
        parts += ["", "## Privacy", "", *_bullets(self.privacy)]
        parts += ["", "## To use it", "", "```python", *self.play(folder), "```"]
        parts += ["", "## Origin", "", f"Made with recgym {self.version} in {self.seconds:,.0f} s"
                  + (f" by `{self.command}`." if self.command else "."), "", *_bullets(origin_lines(self.source)),
                  f"- settings: {', '.join(f'{k} {v}' for k, v in self.settings.items())}"]  # fmt: skip
        return "\n".join(parts) + "\n"


def world_report(
    fitted: Fitted, logs: Logs, tested: HeldOut, pairs: Sequence[Pair] = (), *, replayed: str = "", title: str = "", command: str = "",
    seconds: float | None = None,
) -> WorldReport:  # fmt: skip
    """The report of a fit.

    Args:
        fitted: what `fit_world` returned. logs: those it was fitted to. tested: what `held_out` returned.
        pairs: logged beside simulated, from `recgym.logs.behaviour.compare`. replayed: how the simulated rows were made, or why there are none.
        title: what the logs are called. command: that made it. seconds: that all of it took; None: those of the fit.
    """
    clicks = int((fitted.slates.click & fitted.slates.shown).sum()) if logs.impressions else len(logs)
    span = logs.span
    about = {
        "rows": len(logs), "users": logs.n_users, "items": logs.n_items, "sessions": logs.n_sessions, "clicks": clicks,
        "first": str(span[0]) if span else "", "last": str(span[1]) if span else "", "impressions": logs.impressions, "dropped": logs.n_dropped,
    }  # fmt: skip
    report = WorldReport(
        title=title or str(logs.source.get("name") or "logs"), version=recgym.__version__, command=command, source=dict(logs.source),
        logs=about, world=world_facts(fitted.world), settings={k: _setting(v) for k, v in fitted.settings.items()},
        seconds=fitted.seconds if seconds is None else seconds, findings=findings(fitted, logs, tested, pairs), unknown=tuple(fitted.unknown),
        parameters=tuple(Number(*p) for p in fitted.parameters),
        choices={name: six_digits(float(x)) if math.isfinite(x) else None for name, x in fitted.choices.items()},
        tested=tested,
        compared=tuple(Compared(p.name, len(p.x), p.apart, p.logged.reading if p.logged else "", p.simulated.reading if p.simulated else "",
                                p.missing) for p in pairs),
        replayed=replayed, privacy=privacy_lines(logs),
    )  # fmt: skip
    return WorldReport.from_dict(report.to_dict())


def findings(fitted: Fitted, logs: Logs, tested: HeldOut, pairs: Sequence[Pair]) -> tuple[str, ...]:
    """What the numbers show, in sentences."""
    found = []
    clicks = int((fitted.slates.click & fitted.slates.shown).sum()) if logs.impressions else len(logs)
    if clicks < FEW_CLICKS or logs.n_users < FEW_USERS:
        found.append(
            f"{clicks:,} clicks of {logs.n_users:,} users tell next to nothing: nearly every number of this world is the assumption of the"
            " fit, not of the logs. It shows how the tools work; decide nothing by it."
        )
    found.append(tested.sentence)
    sure = [
        p.name
        for p in fitted.parameters
        if not Number(*p).open and not any(w in p.name for w in UNTESTED) and math.isfinite(p.low)
    ]
    open_ = [p.name for p in fitted.parameters if Number(*p).open]
    if sure:
        found.append(f"Effects that differ from 0 beyond their intervals: {_some(sure)}.")
    if open_:
        found.append(f"Effects that may be 0: {_some(open_)}.")
    there = [p for p in pairs if not p.missing and len(p.x)]
    off = [p for p in there if p.apart > max(1, round(0.15 * len(p.x)))]
    if there:
        found.append(
            f"Of {len(there)} sections of behaviour, the world differs clearly from the logs in {len(off)}"
            + (f": {', '.join(p.name for p in off)}." if off else ".")
        )
    return tuple(found)


def privacy_lines(logs: Logs) -> tuple[str, ...]:
    """What was done to protect persons, and what was not."""
    given = logs.source.get("privacy")
    lines = []
    if isinstance(given, Mapping):
        before = given.get("before")
        if before:
            lines.append(f"Ids: {before}.")
        done = given.get("k_anonymity")
        if isinstance(done, Mapping):
            parts = ", ".join(f"{str(name).replace('_', ' ')} {value}" for name, value in done.items() if name != "k")
            lines.append(
                f"k-anonymity: no item, attribute or query belongs to fewer than {done.get('k')} users ({parts})."
            )
    elif given:
        lines.append(f"Ids: {given}.")
    if not any("k-anonymity" in line for line in lines):
        lines.append("k-anonymity: not asked for; rare items and attributes are as they were.")
    lines.append(
        "The population of the world has an interest, a profile and a first minute for each user, drawn from what the logs tell of a person:"
        " treat the folder as personal data. Nothing here is differentially private."
    )
    return tuple(lines)


def world_facts(world: World) -> dict[str, Any]:
    """Sizes, objectives and parts of a world, as plain JSON values."""
    interest = getattr(world.population, "interest", None)
    parts = {"population": world.population.kind, "market": world.market.kind, "candidates": repr(world.candidates),
             "preference": world.preference.kind, "choice": repr(world.choice), "response": world.response.kind,
             **{f"dynamics {k + 1}": part.kind for k, part in enumerate(world.dynamics)}, "departure": world.departure.kind,
             "reward": repr(world.reward)}  # fmt: skip
    return {
        "users": None if interest is None else len(interest), "items": len(world.catalog), "topics": world.catalog.n_topics,
        "dimensions": world.sizes.dimensions, "candidates": world.n_candidates, "slate_size": world.slate_size, "horizon": world.horizon,
        "objectives": [*world.objectives], "parts": parts,
    }  # fmt: skip


def how_to_make(folder: str, slate_size: int) -> list[str]:
    """Lines of Python that make environments of the world in a folder, in item, slate and embedding form."""
    S = max(slate_size, 2)
    return [
        "import gymnasium as gym",
        "import recgym",
        "",
        f'env = gym.make("recgym/Ecommerce-v0", world={folder!r}, slate_size=1)  # one item a step',
        f'env = gym.make("recgym/EcommerceSlate-v0", world={folder!r}, slate_size={S})  # a slate',
        f'env = gym.make("recgym/Ecommerce-v0", world={folder!r}, slate_size=1, action="embedding")  # a point among the items',
        f'users = gym.make_vec("recgym/EcommerceSlate-v0", num_envs=1024, world={folder!r}, slate_size={S})',
    ]


def origin_lines(source: Mapping[str, Any]) -> list[str]:
    """Where the logs come from, each in a line."""
    lines = []
    for name, value in source.items():
        if name in ("privacy", "columns") or value in (None, "", {}, []):
            continue
        if name == "files" and isinstance(value, Mapping):
            lines += [f"file {file}, SHA-256 {digest}" for file, digest in value.items()]
        elif isinstance(value, Mapping):
            lines.append(f"{name}: {', '.join(f'{k} = {v}' for k, v in value.items())}")
        elif isinstance(value, list):
            lines.append(f"{name}: {', '.join(map(str, value))}")
        else:
            lines.append(f"{name}: {value}")
    return lines


def apart_text(pair: Compared) -> str:
    """How far the two are apart, in words."""
    if not pair.points:
        return "no common points."
    chance = max(1, round(0.05 * pair.points))
    return f"apart by more than chance at {pair.apart} of {pair.points} points (about {chance} would be by chance)."


def ranged(value: float, low: float, high: float) -> str:
    """A number and its interval, where it has one."""
    if not math.isfinite(value):
        return "–"
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3
    text = f"{value:,.{digits}f}"
    return f"{text} [{low:,.{digits}f}, {high:,.{digits}f}]" if math.isfinite(low) and math.isfinite(high) else text


def percent(x: float) -> str:
    """A share as a percentage."""
    return "–" if not math.isfinite(x) else f"{100 * x:.2g} %" if x < 0.1 else f"{100 * x:.0f} %"


def _some(names: Sequence[str], most: int = 8) -> str:
    return "; ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _bullets(lines: Sequence[str]) -> list[str]:
    return [f"- {line}" for line in lines]


def _n(value: Any) -> str:
    return f"{value:,}" if isinstance(value, (int, float)) else "?"


def _setting(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)
