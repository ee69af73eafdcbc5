"""What a world is, in words: for `python -m recgym info`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recgym.fit.report import FitReport
from recgym.fit.world_report import WorldReport, apart_text, how_to_make, ranged, world_facts
from recgym.registry import fitted_worlds, registered_worlds
from recgym.worlds import load_world


def describe(name: str) -> str:
    """A world by folder, name or id, as text: what it is, what was fitted and how well, and how to make environments of it.

    Raises:
        ConfigError: there is no such world. FitError: the report in its folder is none.
    """
    known = registered_worlds()
    by_id = {id: (world.name, dict(given)) for world in known.values() for id, given in world.ids.items()}
    if name in by_id or name in known:
        return _registered(name, by_id)
    world = load_world(name)
    folder = fitted_worlds().get(name, Path(name))
    facts = world_facts(world)
    if (folder / "fit.json").is_file():
        return _fitted(name, WorldReport.load(folder), facts)
    lines = [f"World in {name}", "", *_facts(facts)]
    if (folder / "report.json").is_file():
        report = FitReport.load(folder)
        lines += ["", f"Fitted to {report.source.get('name')}, campaign {report.source.get('campaign')}: {report.overall.impressions:,} impressions,"
                  f" {report.overall.clicks:,} clicks", *_bullets(report.findings), "", "What such logs cannot tell", *_bullets(report.limits)]  # fmt: skip
    return "\n".join([*lines, "", "To play", *_indented(how_to_make(name, world.slate_size))])


def _registered(name: str, by_id: dict[str, tuple[str, dict[str, Any]]]) -> str:
    world_name, given = by_id.get(name, (name, {}))
    registered = registered_worlds()[world_name]
    world = load_world(world_name, **{key: value for key, value in given.items() if key == "slate_size"})
    about = " ".join((registered.load().__doc__ or "").strip().split("\n\n")[0].split())
    lines = [
        f"World {world_name}" + (f", environment {name}" if name in by_id else ""),
        *([about] if about else []),
        "",
        *_facts(world_facts(world)),
    ]
    ids = [name] if name in by_id else [*registered.ids]
    return "\n".join(
        [
            *lines,
            "",
            "To play",
            *_indented(["import gymnasium as gym", "import recgym", "", *(f"env = gym.make({id!r})" for id in ids)]),
        ]
    )


def _fitted(name: str, report: WorldReport, facts: dict[str, Any]) -> str:
    lines = [
        f"World in {name}, fitted to {report.title}",
        *report.lines(),
        "",
        *_facts(facts),
        "",
        "In short",
        *_bullets(report.findings),
    ]
    lines += ["", "Parameters, with 95 % intervals"]
    width = max((len(p.name) for p in report.parameters), default=0)
    lines += [
        f"  {p.name:<{width}}  {ranged(p.value, p.low, p.high)}{' (may be 0)' if p.open else ''}  {p.meaning}"
        for p in report.parameters
    ]
    lines += ["", "What the logs do not tell, so that a default stands in for it", *_bullets(report.unknown)]
    if report.tested.scores:
        lines += [
            "",
            f"Clicks of {report.tested.users:,} users whom the fit has not seen ({report.tested.rows:,} rows)",
        ]
        wide = max(len(s.model) for s in report.tested.scores)
        lines += [
            f"  {s.model:<{wide}}  log loss {ranged(1000 * s.log_loss, 1000 * s.log_loss_low, 1000 * s.log_loss_high)} millinats,"
            f" AUC {ranged(s.auc, s.auc_low, s.auc_high)}"
            for s in report.tested.scores
        ]
    if report.compared:
        lines += ["", "Logged beside simulated"]
        lines += [f"  {pair.name}: {pair.missing or apart_text(pair)}" for pair in report.compared]
    return "\n".join([*lines, "", "To play", *_indented(report.play(name))])


def _facts(facts: dict[str, Any]) -> list[str]:
    users = "made anew" if facts["users"] is None else f"{facts['users']:,} to draw from"
    lines = [
        ("users", users), ("items", f"{facts['items']:,} in {facts['topics']:,} topics, {facts['dimensions']} dimensions"),
        ("steps", f"{facts['candidates']:,} candidates, slates of {facts['slate_size']}, horizon {facts['horizon']:,}"),
        ("objectives", ", ".join(facts["objectives"])), *facts["parts"].items(),
    ]  # fmt: skip
    width = max(len(name) for name, _ in lines)
    return [f"{name:<{width}}  {text}" for name, text in lines]


def _bullets(lines: Any) -> list[str]:
    return [f"- {line}" for line in lines]


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}".rstrip() for line in lines]
