"""`recgym analyse`: whether planning pays, and the page."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("polars")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("rich")

import polars as pl
from behaviour_logs import TOPICS, logs_of, made_up

from benchmarks import behaviour_page, planning
from benchmarks.behaviour_page import analysis_page, chapters
from benchmarks.files import PUBLISHED
from benchmarks.planning import Answer, gain_of, interval_text, signed_text, task_of, would_planning_pay
from recgym.__main__ import main
from recgym.errors import ConfigError
from recgym.logs import Logs
from recgym.logs.behaviour import Behaviour, behaviour, compare
from recgym.worlds import load_world

QUICK: dict[str, Any] = {"users": 300, "iterations": 2, "trials": 60, "ridges": (100.0,)}  # of the planner


# Gains


def test_fiellers_interval_solves_its_equation() -> None:
    """Its ends are the ratios at which Student's t of the paired differences is the quantile (scipy.stats.t.ppf(.975, 11))."""
    rng = np.random.default_rng(0)
    base = rng.gamma(2.0, 3.0, 12)
    other = 1.3 * base + rng.normal(0, 1, 12)
    gain = gain_of("a", "b", other, base)
    assert gain.value == pytest.approx(other.mean() / base.mean() - 1)
    for end in (gain.low, gain.high):
        difference = other - (1 + end) * base
        t = difference.mean() / (difference.std(ddof=1) / math.sqrt(12))
        assert abs(t) == pytest.approx(2.200985, rel=1e-4)
    assert gain.low < gain.value < gain.high


def test_intervals_of_gains_cover_and_pairing_narrows_them() -> None:
    rng = np.random.default_rng(1)
    covered, widths, unpaired = 0, [], []
    for _ in range(1000):
        base = rng.gamma(1.0, 5.0, 40)
        other = 1.2 * base + rng.gamma(1.0, 0.5, 40)  # the true gain is 0.3
        gain = gain_of("a", "b", other, base)
        covered += gain.low <= 0.3 <= gain.high
        widths.append(gain.high - gain.low)
        apart = gain_of("a", "b", rng.permutation(other), base)
        unpaired.append(apart.high - apart.low)
    assert 920 <= covered <= 975
    assert np.median(widths) < 0.3 * np.median(unpaired)


def test_gains_at_the_edge() -> None:
    ones = np.arange(1.0, 9.0)
    same = gain_of("a", "b", ones, ones)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    doubled = gain_of("a", "b", 2 * ones, ones)
    assert (doubled.low, doubled.high) == (pytest.approx(1.0), pytest.approx(1.0))
    noise = np.array([-5.0, 6.0, -4.0, 3.5])
    assert gain_of("a", "b", ones[:4], noise).high == math.inf  # the base does not differ from 0
    nothing = gain_of("a", "b", ones, np.zeros(8))
    assert math.isnan(nothing.value)
    assert "no interval" in interval_text(nothing)
    constant = gain_of("a", "b", ones, np.full(8, 3.0))
    assert constant.low < constant.value < constant.high


def answer(value: float, low: float, high: float, **more: Any) -> Answer:
    gains = (planning.Gain("planner", "myopic", value, low, high), *more.pop("gains", ()))
    returns = {"random": (1.0, 0.1), "myopic": (2.0, 0.1), "planner": (2.0 * (1 + value), 0.1)}
    return Answer("shop", 400, 0, returns, gains, **more)


def test_the_sentence_says_what_the_interval_allows() -> None:
    pays = answer(0.18, 0.15, 0.21)
    assert pays.pays is True
    assert pays.sentence == "Planning ahead would earn 18 % more per visitor than the best greedy policy [15, 21]."
    none = answer(0.001, -0.004, 0.006)
    assert none.pays is False
    assert (
        none.sentence
        == "Planning ahead would gain nothing over the best greedy policy: +0.1 % per visitor [−0.4, 0.6]."
    )
    few = answer(0.05, -0.03, 0.13)
    assert few.pays is None
    assert few.sentence.startswith("400 visitors are too few to tell")
    worse = answer(-0.1, -0.14, -0.06)
    assert worse.pays is False
    assert "earns less than the best greedy policy: −10 %" in worse.sentence
    learned = answer(
        0.18,
        0.15,
        0.21,
        learned="reinforce",
        steps=1000,
        gains=(planning.Gain("reinforce", "myopic", 0.05, 0.02, 0.08),),
    )
    assert (
        "Reinforce, trained on 1,000 steps and without a view of the hidden state, earns +5.0 % [2, 8]"
        in learned.sentence
    )
    assert json.loads(json.dumps(learned.to_dict(), allow_nan=False))["gains"][0]["gain"] == 0.18
    assert signed_text(0.0001) == "0.0 %"


def test_what_a_world_is_called(tmp_path: Path) -> None:
    assert task_of("recgym/News-v0").id == task_of("news").id == "recgym/News-v0"
    assert task_of("open-bandit").options == {"world": "open-bandit", "slate_size": 3}
    load_world("open-bandit", slate_size=1).save(tmp_path / "mine")
    task = task_of(tmp_path / "mine")
    assert (task.id, task.options) == ("recgym/Ecommerce-v0", {"world": str(tmp_path / "mine")})
    with pytest.raises(ConfigError, match=r"Did you mean 'recgym/News-v0'"):
        task_of("recgym/Nws-v0")
    with pytest.raises(ConfigError, match="must be another than the references"):
        would_planning_pay("news", 2, agent="myopic")


@cache
def measured(world: str) -> Answer:
    return would_planning_pay(world, 60, planner=QUICK)


def test_planning_gains_nothing_in_the_world_of_open_bandit() -> None:
    found = measured("open-bandit")
    gain = found.gain()
    assert gain.low <= 0 <= gain.high
    assert gain.high <= planning.SURE
    assert found.pays is False
    assert "would gain nothing" in found.sentence
    assert found.gain("myopic", "random").value > 0.05  # there is something to be gained, but not by planning


def test_planning_pays_in_ecommerce() -> None:
    found = measured("recgym/Ecommerce-v0")
    assert found.pays is True
    assert found.gain().low > 0.2
    assert set(found.returns) == {"random", "popularity", "myopic", "one-step", "planner"}
    assert found.returns["random"][0] < found.returns["popularity"][0] < found.returns["planner"][0]


def test_a_learned_agent_is_compared_on_the_same_users() -> None:
    found = would_planning_pay(
        "open-bandit", 20, agent="linucb", steps=640, planner={**QUICK, "iterations": 1, "trials": 10}
    )
    assert found.learned == "linucb"
    assert {gain.agent for gain in found.gains if gain.base == "myopic"} == {"planner", "linucb"}
    assert found.gain("planner", "linucb").low <= found.gain("planner", "linucb").value
    assert "Linucb, trained on 640 steps" in found.sentence
    with pytest.raises(ConfigError, match="gain"):
        found.gain("random")


def test_the_committed_answers() -> None:
    data = json.loads((PUBLISHED / "planning" / "planning.json").read_text())
    answers = data["answers"]
    assert data["command"].startswith("python -m benchmarks planning ")
    for world, lowest in (("recgym/Ecommerce-v0", 1.0), ("recgym/News-v0", 0.2), ("recgym/LiveStream-v0", 0.4)):
        gain = answers[world]["gains"][0]
        assert (gain["agent"], gain["base"]) == ("planner", "myopic")
        assert gain["low"] > lowest
    nothing = answers["open-bandit"]["gains"][0]
    assert nothing["low"] <= 0 <= nothing["high"] <= planning.SURE


# The page


class Page(HTMLParser):
    """Tags, addresses and text of a page; fails where tags do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        if tag not in ("meta", "link", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@cache
def logs() -> Logs:
    return made_up(120)


@cache
def report() -> Behaviour:
    return behaviour(logs())


def test_the_page_needs_nothing_and_takes_logs_as_text() -> None:
    evil = "<script>alert(1)</script>"
    found = dataclasses.replace(report(), missing={"price": f"no {evil}"})
    html = analysis_page(evil, found=found, answer=measured("open-bandit"), lines=[evil], notes=[evil], command=evil)
    page = Page(html)
    assert "script" not in page.tags
    assert "<b>games" not in html  # the name of a topic
    assert "toys & <b>games</b>" in page.texts
    assert evil in page.texts
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert not re.search(r"url\((?!#)", html)
    for section in found.sections:
        assert section.reading in page.texts
    assert measured("open-bandit").sentence in page.texts
    assert html.count("<svg viewBox") == 1 + sum(
        section.kind in ("curve", "steps", "bars") for section in found.sections
    )
    anchors = [address[1:] for address in page.addresses if address.startswith("#") and not address.startswith("#m")]
    assert {"planning", "prices", "staying-and-coming-back"} <= {*anchors}
    assert all(f'id="{anchor}"' in html for anchor in anchors)


def test_odd_labels_do_not_break_pictures() -> None:
    """Prices and positions are ours; topics, the only words from logs in pictures and tables, may hold anything."""
    names = ["$x^2$", "a" * 500, "", "\x00\x1b[31m"]
    events = logs().events.head(3000)
    found = behaviour(logs_of(events, [names[k % 4] for k in range(60)]))
    Page(analysis_page("odd", found=found))
    longest = max(
        len(text) for row in chapters(found) for one in row.blocks for matrix in one.matrices for text in matrix.header
    )
    assert longest <= behaviour_page.LONGEST


def test_every_section_has_its_place_and_its_numbers() -> None:
    found = chapters(report())
    titles = [one.title for chapter in found for one in chapter.blocks]
    assert len(titles) == len(report().sections)
    assert "More" not in [chapter.title for chapter in found]
    position = next(one for chapter in found for one in chapter.blocks if one.title == "Click rate by position")
    assert position.table is not None
    section = report()["click rate by position"]
    assert [row[-1] for row in position.table.rows] == [f"{n:,}" for n in section.n]
    assert position.table.rows[0][1].startswith(behaviour_page.number_text(float(section.value[0]), "share"))


def test_two_logs_stand_side_by_side() -> None:
    other = made_up(100, seed=5)
    other = dataclasses.replace(
        other, events=other.events.drop("price").with_columns(pl.col("click") & (pl.col("position") > 0))
    )
    pairs = compare(logs(), other)
    found = {one.title: one for chapter in chapters(pairs) for one in chapter.blocks}
    position = found["Click rate by position"]
    assert position.readings[0].startswith("The two differ by more than chance at 1 of ")
    assert position.readings[1].startswith("Logged: ")
    assert position.readings[2].startswith("Simulated: ")
    assert position.chart is not None
    assert [label for label, _ in position.chart.legend] == ["logged", "simulated"]
    assert "var(--c0)" in position.chart.svg
    assert "var(--c1)" in position.chart.svg
    assert position.table is not None
    assert position.table.header == ("position", "logged", "n", "simulated", "n")
    assert found["Price paid"].readings[0] == "Not in the simulated: The logs have no price."
    assert len(found["Topic transitions"].matrices) == 2
    assert "Segments" not in found


def test_analyse_of_a_folder_of_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not hasattr(Logs, "load"):
        pytest.skip("needs Logs.load")
    events = logs().events.with_columns(pl.col("dwell").fill_null(0.0))
    dataclasses.replace(logs(), events=events).save(tmp_path / "logs")
    page, data = tmp_path / "new" / "report.html", tmp_path / "new" / "report.json"
    assert main(["analyse", str(tmp_path / "logs"), "-o", str(page), "--json", str(data), "--min-size", "25"]) == 0
    assert "items shown" in capsys.readouterr().out
    html = page.read_text()
    assert f"python -m recgym analyse {tmp_path / 'logs'}" in html
    numbers = json.loads(data.read_text())
    assert numbers["planning"] is None
    assert numbers["behaviour"]["about"]["users"] == 120
    assert sorted(path.name for path in page.parent.iterdir()) == ["report.html", "report.json"]


def test_analyse_of_a_file(tmp_path: Path) -> None:
    if not hasattr(__import__("recgym.logs").logs, "read"):
        pytest.skip("needs recgym.logs.read")
    rows = [f"u{k % 40},i{k % 7},{1_700_000_000 + 400 * k},{k % 3 == 0:d},{TOPICS[k % 4]}" for k in range(900)]
    file = tmp_path / "events.csv"
    file.write_text("\n".join(["user_id,item_id,timestamp,click,category", *rows]))
    assert main(["analyse", f"csv:{file}", "-o", str(tmp_path / "report.html")]) == 0
    assert "900 items shown" in (tmp_path / "report.html").read_text()


def test_analyse_of_a_world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("recgym.logs.simulate")
    monkeypatch.setattr(behaviour_page, "would_planning_pay", lambda *args, **kwargs: measured("open-bandit"))
    page = tmp_path / "report.html"
    assert main(["analyse", "open-bandit", "-o", str(page), "--users", "60", "--json", str(tmp_path / "r.json")]) == 0
    assert "would gain nothing" in capsys.readouterr().out
    html = page.read_text()
    assert "Would planning pay here?" in html
    assert "simulated visitors" in html
    assert json.loads((tmp_path / "r.json").read_text())["planning"]["pays"] is False


def test_wrong_calls_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["analyse", "no-such-world", "-o", str(tmp_path / "r.html")]) == 2
    assert "world: got 'no-such-world'" in capsys.readouterr().err
    assert main(["analyse", "open-bandit", "-o", str(tmp_path)]) == 2
    assert "output: must be a file" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]
    monkeypatch.setattr("recgym.__main__.find_spec", lambda name: None if name in ("polars", "jinja2") else True)
    assert main(["analyse", "open-bandit", "-o", str(tmp_path / "r.html")]) == 2
    assert 'pip install "recgym[bench,logs]"' in capsys.readouterr().err
