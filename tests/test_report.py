"""Reports: pinned references, agents on some tasks only, what is missing, commands, and the HTML page."""

from __future__ import annotations

import io
import json
import math
import re
import shlex
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rich")
pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from rich.console import Console

from baselines.agent import Task
from benchmarks import check, display, files, metrics, report, run, suite, tables
from benchmarks.metrics import hypervolume
from benchmarks.page import page
from benchmarks.suite import Contender, NamedTask, Suite
from recgym.errors import ConfigError
from recgym.files import write_atomically

SHOP, STREAM = "shop", "stream"


def sweep(agent: str, *shares: float) -> tuple[Contender, ...]:
    return tuple(
        Contender(f"{agent} {share:g}", agent, {"objective_weights": {"click": share, "cart": 1 - share}}, only=(SHOP,))
        for share in shares
    )


CHOSEN = Suite(
    "made-up-v0",
    (NamedTask(SHOP, Task("recgym/Ecommerce-v0"), 1000), NamedTask(STREAM, Task("recgym/LiveStream-v0"), 1000)),
    (
        Contender("<b>bold</b>", "dqn"),
        Contender("slow", "linucb"),
        Contender("dear", "ppo"),
        *sweep("reinforce", 0.0, 0.5, 1.0),
        *(c for c in suite.references() if c.label in ("random", "planner")),
    ),
    suite.training_seeds(3),
    users=100,
)
RETURNS = {"<b>bold</b>": 4.0, "slow": 3.0, "random": 2.0, "planner": 6.0}
OBJECTIVES = {"reinforce 0": (1.0, 3.0), "reinforce 0.5": (2.0, 2.0), "reinforce 1": (3.0, 1.0), "random": (0.5, 0.5)}


def write(folder: Path, old: tuple[str, ...] = (), **manifest) -> Path:
    """A results folder: "dear" has not run, one run of "slow" has failed; labels of learning curves as 0.1 had them."""
    entries = [{"task": e.task, "label": e.label, "key": e.job.key, "job": e.job.to_dict()} for e in CHOSEN.entries()]
    command = "python -m benchmarks run --agent 'my agent.py:A' --task x -o out --workers 2 --only slow --fresh"
    fixed = {"format": suite.FORMAT, "suite": CHOSEN.name, "command": command, "entries": entries}
    run.write_json(folder / "suite.json", {**fixed, **manifest})
    for task, label, job in CHOSEN.entries():
        if label == "dear":
            continue
        if (label, task, job.seed) == ("slow", SHOP, suite.SEED_STRIDE):
            run.error_file(folder, job.key).write_text("Traceback:\n  somewhere\nValueError: 1 < 2 & more\n")
            continue
        rate = 0.5 if label == "slow" else 1.0
        curve = [{"steps": s, "return": 2 + 2 * rate * s / 1000, "se": 0.1} for s in range(100, 1001, 100)]
        if label in old:
            curve = [{"steps": s, "reward": 0.2 + s / 1000, "loss": 1.0} for s in range(20, 1001, 20)]
        mean = RETURNS.get(label, 3.0) + job.seed / suite.SEED_STRIDE * 0.1
        x, y = OBJECTIVES.get(label, (1.5, 1.5))
        run.write_json(
            run.result_file(folder, job.key),
            {
                "format": suite.FORMAT, "key": job.key, "job": job.to_dict(), "privileged": job.agent == "planner",
                "return": {"mean": mean, "se": 0.05, "n": job.users}, "length": {"mean": 10.0, "median": 9.0},
                "objectives": {"click": x, "cart": y}, "curve": curve if job.steps else [],
                "software": {"recgym": "7.7", "torch": "none"}, "cost": {"train_seconds": 30.0, "evaluation_seconds": 1.0},
            },
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = write(tmp_path_factory.mktemp("results"))
    report.report(folder, Console(file=io.StringIO(), width=80))
    return folder


@pytest.fixture(scope="module")
def html(folder) -> str:
    return (folder / "index.html").read_text()


class Reader(HTMLParser):
    """Checks that tags nest; collects what the page asks for, its ids, its texts and its table cells."""

    VOID = {"meta", "link", "br"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def reader(html) -> Reader:
    return Reader(html)


def test_the_page_needs_nothing_beside_it(html, reader):
    assert not {"script", "img", "iframe"} & {tag for tag, _ in reader.tags}
    for tag, attributes in reader.tags:
        for name in ("src", "href", "xlink:href"):
            target = attributes.get(name) or "#"
            assert target.startswith(("#", "data:")), (tag, target)
            local = target.startswith("#") and len(target) > 1
            assert not local or any(found.get("id") == target[1:] for _, found in reader.tags), target
    assert "@import" not in html
    assert html.count("url(") == html.count("url(#"), "only clip paths"


def test_the_page_is_accessible_and_fits_both_modes(html, reader):
    assert "prefers-color-scheme: dark" in html
    assert 'name="viewport"' in html
    kinds = [tag for tag, _ in reader.tags]
    assert kinds.count("table") == kinds.count("caption") > 4
    assert kinds.count("figure") == kinds.count("figcaption") > 3
    pictures = [attributes for tag, attributes in reader.tags if attributes.get("class") == "picture"]
    assert len(pictures) == kinds.count("figure")
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in pictures)
    scrolling = [attributes for tag, attributes in reader.tags if attributes.get("class") == "scroll"]
    assert len(scrolling) == kinds.count("table")
    assert all("tabindex" in attributes for attributes in scrolling), "scrolled by keyboard too"
    for fixed in ("#010101", "#000000", "fill: #ffffff", "0fe"):
        assert fixed not in html, "colours of a picture follow the mode"


def test_the_page_holds_what_the_files_say(html, reader):
    rows = {(row[0], len(row)): row for row in reversed(reader.rows)}
    assert "<b>bold</b>" not in html, "labels are text"
    leaderboard = rows["<b>bold</b>", 6]
    assert leaderboard[1].startswith("0.52 ["), "returns of 4, 4.1 and 4.2 between 2 and 6"
    assert leaderboard[3].startswith("0.47 [")
    assert leaderboard[4:] == ["6 of 6", "30"]
    assert rows["slow", 6][1] == rows["dear", 6][1] == "missing"
    task = next(row for row in reader.rows if row[0] == "<b>bold</b>" and len(row) == 7)
    assert task[1].startswith("4.10 ± ")
    # The best ends at 4, random earns 2: half way is 3.
    assert task[6] == "500"
    assert next(row for row in reader.rows if row[0] == "slow" and len(row) == 7)[6] == "1,000"
    matrix = [row for row in reader.rows if row[0] in ("planner*", "random") and len(row) == 4]
    assert {row[0]: [cell[:4] for cell in row[1:]] for row in matrix} == {
        "planner*": ["–", "1.00", "1.00"], "random": ["0.00", "0.00", "–"],
    }  # fmt: skip
    assert "recgym 7.7" in html
    assert "torch" not in html
    assert "ValueError: 1 &lt; 2 &amp; more" in html
    assert "dear: not run yet (all 6 jobs)" in html


def test_a_front_and_its_hypervolume(html, tmp_path):
    points = np.array([value for label, value in OBJECTIVES.items() if label != "random"])
    volume = hypervolume(points, OBJECTIVES["random"])
    assert volume == pytest.approx(0.5 * 2.5 + 1 * 1.5 + 1 * 0.5)
    assert "Pareto front: cart against click" in html, "as the jobs name them"
    assert f"reinforce: {volume:.3g} ± 0" in html
    assert html.count("Pareto front") == 2, "a caption and an alternative text, of one task"
    assert "shop: cart against click (± half a 95 % interval)</caption>" in html, "and the table"
    results = tables.read_folder(write(tmp_path, fronts={SHOP: ["click", "cart"]}))
    assert results.fronts == {SHOP: ("click", "cart")}, "a suite says in which order"


def test_what_the_report_says_of_a_front(tmp_path):
    """Means (1, 3), (2, 2), (3, 1) of three runs without spread: the interval is that of the users."""

    def found(error: float) -> tuple[dict[str, tuple[str, ...]], list[str]]:
        write(tmp_path, fronts={SHOP: ["click", "cart"]})
        for _, _, job in CHOSEN.entries():
            file = run.result_file(tmp_path, job.key)
            if error and file.exists():
                data = json.loads(file.read_text())
                run.write_json(file, {**data, "objectives_se": dict.fromkeys(data["objectives"], error)})
        results = tables.read_folder(tmp_path)
        return {row[0]: row for row in tables.sections(results)[-1].rows}, tables.notes(results)

    rows, lines = found(0.1)
    assert rows["reinforce 0.5"] == ("reinforce 0.5", "2 ± 0.2", "2 ± 0.2", "yes", "yes", "yes")
    assert rows["random"][3:] == ("–", "–", "no")
    line = f"{SHOP}: 3 of 3 rows of reinforce are trade-offs of one another: reinforce 0, reinforce 0.5, reinforce 1."
    assert line in lines
    rows, lines = found(0.4)
    assert [rows[f"reinforce {p}"][3] for p in ("0", "0.5", "1")] == ["yes", "no", "yes"], "intervals of 0.78 overlap"
    assert any("2 of 3 rows of reinforce" in line for line in lines)
    rows, lines = found(0.0)
    assert rows["reinforce 0"] == ("reinforce 0", "1", "3", "–", "–", "–"), "results without errors tell nothing"


@pytest.mark.parametrize(("rise", "said"), [(0.0235, "rose by 2.4%"), (-0.0063, "fell by 0.6%")])
def test_the_note_on_how_far_the_one_was_stretched(tmp_path, rise, said):
    notes = tables.notes(tables.read_folder(write(tmp_path, stretch={SHOP: [3e6, rise]})))
    assert any(said in note for note in notes)


def test_agents_on_some_tasks_have_no_score_over_all(folder):
    results = tables.read_folder(folder)
    assert results.on(STREAM) == results.on(SHOP, STREAM) == ["planner", "<b>bold</b>", "random", "slow", "dear"]
    assert "reinforce 0" in results.on(SHOP)
    rows = {section.title: [row[0] for row in section.rows] for section in tables.sections(results)}
    assert "reinforce 0" in rows[SHOP]
    assert rows[STREAM] == rows["All tasks, normalised score"]
    assert results.estimate("reinforce 0", results.tasks) is None


def test_pinned_references_are_the_scale(tmp_path):
    pinned = {SHOP: {"random": [0.0, 0.1], "planner": [8.0, 0.1]}}
    results = tables.read_folder(write(tmp_path, references=pinned))
    assert results.estimate("<b>bold</b>", [SHOP]).value == pytest.approx(4.1 / 8)
    assert results.estimate("<b>bold</b>", [STREAM]).value == pytest.approx(2.1 / 4), (
        "its own jobs, where none are pinned"
    )
    for _, label, job in CHOSEN.entries():
        if label in ("random", "planner"):
            run.result_file(tmp_path, job.key).unlink()
    results = tables.read_folder(tmp_path)
    assert results.estimate("<b>bold</b>", [SHOP]).value == pytest.approx(4.1 / 8), "without their runs too"
    assert results.estimate("<b>bold</b>", [STREAM]) is None


def test_a_suite_names_the_one_of_a_task(tmp_path):
    results = tables.read_folder(write(tmp_path, ones={SHOP: "reinforce 0"}))
    assert results.ones == {SHOP: "reinforce 0", STREAM: "planner"}
    assert results.estimate("<b>bold</b>", [SHOP]).value == pytest.approx(2.1 / 1.2)
    assert any("shop: reinforce 0; stream: the planner" in note for note in tables.notes(results))
    with pytest.raises(ConfigError, match="ones must be of rows"):
        tables.read_folder(write(tmp_path, ones={STREAM: "reinforce 0"}))


def test_the_interval_is_that_of_student_over_runs_and_users(folder):
    found = tables.read_folder(folder).estimate("<b>bold</b>", [SHOP], metrics.mean)
    runs, users = 0.1 / math.sqrt(3) / 4, 0.05 / 4
    freedom = (runs**2 + users**2) ** 2 / (runs**4 / 2)
    assert 6 < freedom < 7, "so that t is between 2.365 and 2.447"
    error = math.hypot(runs, users)
    assert 2.3 * error < found.high - found.value < 2.5 * error


def test_old_learning_curves_are_neither_drawn_nor_compared(tmp_path):
    results = tables.read_folder(write(tmp_path, old=("slow",)))
    text = page(results)
    assert "cannot be compared and are not drawn: slow." in text
    assert results.with_old_curves() == ["slow"]
    rows = {row[0]: row for row in Reader(text).rows if len(row) == 7}
    assert [rows[label][6] for label in ("<b>bold</b>", "slow")] == ["500", "–"]
    figures = text.count("Learning curves</figcaption>"), text.count("<figure>")
    assert figures[1] > 0
    everything_old = page(tables.read_folder(write(tmp_path, old=("slow", "<b>bold</b>"))))
    assert everything_old.count("<figure>") == figures[1] - 2, "no picture where there is no curve"


HOSTILE = (
    "[red]",
    "[/]",
    "[bold",
    ":smile:",
    "$x$",
    "$\\frac{",
    "</script>",
    "`|*#",
    "ünïcödé",
    "{task.fields[x]}",
    "\\",
)


def test_names_are_taken_as_they_are(tmp_path):
    """Rich markup, emoji codes, formulas, HTML, Markdown: in labels, tasks, suite and command."""
    tasks = tuple(
        NamedTask(f"task {name}", Task("recgym/Ecommerce-v0"), 0, Task("recgym/Ecommerce-v0", {"seed": i}))
        for i, name in enumerate(HOSTILE[:2])
    )
    agents = tuple(Contender(name, "random", {"x": name}, trained=False) for name in HOSTILE)
    chosen = Suite(
        "[/suite]", tasks, (*agents, *(c for c in suite.references() if c.label in ("random", "planner"))), (0,), 50
    )
    run.write_json(
        tmp_path / "suite.json", {**chosen.manifest(), "command": "python -m benchmarks run 'open [/] quote"}
    )
    base = json.loads(next((write(tmp_path / "other") / "jobs").glob("*.json")).read_text())
    for _, label, job in chosen.entries():
        if label != HOSTILE[0]:
            score = {"mean": 2.0 if label == "random" else 3.0, "se": 0.1, "n": 50}
            run.write_json(
                run.result_file(tmp_path, job.key),
                {**base, "key": job.key, "job": job.to_dict(), "return": score, "curve": []},
            )
        else:
            run.write_atomically(run.error_file(tmp_path, job.key), b"ValueError: [/red] \x1b[2J")
    console = Console(file=io.StringIO(), width=200)
    results = report.report(tmp_path, console)
    printed = console.file.getvalue()
    for name in HOSTILE[1:]:
        assert name in printed
    assert "ValueError: [/red] ?[2J" in printed
    assert "task [red]" in printed
    assert "task [/]" in printed
    assert results.row_command("x") == results.command, "with an open quote"
    Reader((tmp_path / "index.html").read_text())
    with display.Display(chosen.entries(), Console(file=io.StringIO(), force_terminal=True)) as shown:
        for entry in chosen.entries():
            shown(run.Update(entry.job.key, "train", 5, 10, "[/] :smile:"))
            shown.bars.refresh()
            shown(run.Update(entry.job.key, "failed", text="[/] no"))


def test_a_report_is_written_whole_or_not_at_all(folder, tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.setattr("benchmarks.page.page", lambda results: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.report(tmp_path, Console(file=io.StringIO()))
    assert {path.name for path in tmp_path.iterdir()} == {"suite.json", "jobs"}


# What is read from a folder is anybody's


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "Expecting property name"),
        (b"\xff\xfe\xfa", "codec can't decode"),
        (b"[" * 200_000, "must be JSON"),
        (b"[" * 500 + b"]" * 500, "JSON of at most 100 levels"),
        (b'{"a": 1, "a": 2}', "the name 'a' is there twice"),
        (b'{"a": NaN}', "NaN is no number of JSON's"),
        (b'{"a": 1e999}', "must be an object with a list of entries"),
        (b'{"a": ' + b"1" * 5000 + b"}", "Exceeds the limit"),
        (b'{"a": "\\ud800"}', "surrogates not allowed"),
        (b"[]", "must be an object with a list of entries"),
        (b'{"format": 1, "entries": [3], "suite": "x", "command": "\\u001b[2J"}', "command must be text"),
        (b'{"format": 1, "entries": [3], "suite": "x", "command": ""}', "entry 0: must be an object"),
    ],
)
def test_a_manifest_of_another_form_is_refused_by_name(tmp_path, data, message):
    (tmp_path / "suite.json").write_bytes(data)
    with pytest.raises(ConfigError, match=rf"suite\.json.*{re.escape(message)}"):
        tables.read_folder(tmp_path)
    assert [v.ok for v in check.submit_check(tmp_path, sample=0)] == [False]


def test_a_manifest_with_a_mark_of_its_byte_order_is_read(tmp_path):
    path = write(tmp_path) / "suite.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert tables.read_folder(tmp_path).suite == CHOSEN.name


STRANGE = (None, True, -1, 1e308, 5e-324, 10**17, "", "x", "[/]", "../x", [], {}, [[]], {"a": 1}, [1, 2])


def mutated(rng: np.random.Generator, data: Any) -> Any:
    """JSON with one value deleted or replaced, somewhere."""
    places = [data]
    for place in places:
        children = place.values() if isinstance(place, dict) else place if isinstance(place, list) else ()
        places += [child for child in children if child and isinstance(child, (dict, list))]
    place = places[rng.integers(len(places))]
    name = list(place)[rng.integers(len(place))] if isinstance(place, dict) else int(rng.integers(len(place)))
    if rng.random() < 0.3:
        del place[name]
    else:
        place[name] = STRANGE[rng.integers(len(STRANGE))]
    return data


def test_mutated_folders_give_no_error_but_ours(folder, tmp_path):
    """`python -m benchmarks fuzz results` does the same for as long as it may."""
    whole = {
        path.relative_to(folder): path.read_bytes()
        for path in [folder / "suite.json", *(folder / "jobs").glob("*.json")]
    }
    for name, data in whole.items():
        write_atomically(tmp_path / name, data)
    rng, names, refused = np.random.default_rng(0), sorted(whole), 0
    for i in range(24):
        name = Path("suite.json") if i % 3 == 0 else names[rng.integers(len(names))]
        data = mutated(rng, json.loads(whole[name]))
        for entry in data.get("entries", ()) if isinstance(data.get("entries"), list) and i % 2 else ():
            if isinstance(entry, dict) and isinstance(entry.get("job"), dict):
                entry["key"] = suite.key_of(entry["job"])  # so that what lies deeper is looked at
        (tmp_path / name).write_text(json.dumps(data))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check.submit_check(tmp_path, sample=0)
            try:
                report.markdown(tables.read_folder(tmp_path), "x")
            except ConfigError:
                refused += 1
        (tmp_path / name).write_bytes(whole[name])
    assert refused > 1


def test_commands(folder, tmp_path):
    results = tables.read_folder(folder)
    words = shlex.split(results.row_command("a 'b'"))
    assert words == ["python", "-m", "benchmarks", "run", "--agent", "my agent.py:A", "--task", "x", "--only", "a 'b'"]
    manifest = json.loads((write(tmp_path) / "suite.json").read_text())
    for name, command, wanted in (
        ("core-v1", "anything", "python -m benchmarks run core-v1 --only slow"),
        ("other", "python -m benchmarks references -w 2", "python -m benchmarks references -w 2"),
        ("other", "", ""),
    ):
        run.write_json(tmp_path / "suite.json", {**manifest, "suite": name, "command": command})
        assert tables.read_folder(tmp_path).row_command("slow") == wanted


def test_a_folder_without_any_result_has_a_page(tmp_path):
    write(tmp_path)
    for path in (tmp_path / "jobs").iterdir():
        path.unlink()
    text = page(tables.read_folder(tmp_path))
    Reader(text)
    assert "0 of 31 jobs done" in text
    assert "<figure>" not in text


@pytest.mark.parametrize("file", sorted(files.PUBLISHED.glob("*/leaderboard.md")), ids=lambda file: file.parent.name)
def test_the_published_leaderboards_are_what_report_writes(file):
    assert report.markdown(tables.read_folder(file.parent), "leaderboard.png") == file.read_text()
