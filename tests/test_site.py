"""The site of all results: pages that work from disk, whose numbers are those of the files, and in which results are text."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from base64 import b64encode
from pathlib import Path
from urllib.parse import urldefrag

import numpy as np
import pytest

pytest.importorskip("rich")
pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytest.importorskip("typer")
pytest.importorskip("torch")

from test_report import Reader

from baselines.agent import Task
from benchmarks import files, packed, run, suite, tables
from benchmarks.__main__ import main
from benchmarks.site import boards_of, site
from benchmarks.suite import Contender, NamedTask, Suite
from recgym.errors import ConfigError


class Page(Reader):
    """A page of the site, which has elements without an end that the page of `report` has not."""

    VOID = {*Reader.VOID, "input"}

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)
        self.ids = [attributes["id"] for _, attributes in self.tags if "id" in attributes]
        self.links = [attributes["href"] for tag, attributes in self.tags if tag == "a"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Page]:
    """The site of the committed results."""
    output = tmp_path_factory.mktemp("site") / "new"
    written = site(output)
    assert written[0] == output / "index.html"
    assert {*written} == {*output.iterdir()}
    return {path.name: Page(path.read_text("utf-8")) for path in written}


def test_a_page_for_each_suite_and_each_agent(pages):
    published = [path.parent for path in files.PUBLISHED.glob("*/suite.json")]
    assert sum(name.startswith("suite-") for name in pages) == len(published)
    names = {entry.job.agent for folder in published for entry in files.read_manifest(folder).entries}
    assert {name for name in pages if name.startswith("agent-")} == {f"agent-{name}.html" for name in names}
    assert len(pages) == len(published) + len(names) + 2


def test_all_links_lead_somewhere(pages):
    for name, page in pages.items():
        for link in page.links:
            file, fragment = urldefrag(link)
            target = pages[file or name]
            assert not fragment or fragment in target.ids, (name, link)
    linked = {urldefrag(link)[0] for page in pages.values() for link in page.links}
    assert linked >= {*pages} - {""}


def test_pages_need_nothing_but_themselves(pages):
    for name, page in pages.items():
        for tag, attributes in page.tags:
            assert tag not in ("img", "iframe", "object", "embed"), name
            assert "src" not in attributes
            assert not any(key.startswith("on") for key in attributes), "no handlers in attributes"
            if tag == "link":
                assert attributes["href"] == "data:,"
        assert "@import" not in page.text
        assert page.text.count("url(") == page.text.count("url(#"), "only clip paths"
        scripts = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
        assert len(scripts) == 1
        digest = b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
        policy = next(attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes)
        assert policy == f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"


def test_pages_are_accessible_and_fit_phones_and_both_modes(pages):
    for page in pages.values():
        kinds = [tag for tag, _ in page.tags]
        assert "prefers-color-scheme: dark" in page.text
        assert 'name="viewport"' in page.text
        assert kinds.count("h1") == kinds.count("main") == kinds.count("title") == 1
        assert kinds.count("table") == kinds.count("caption") == kinds.count("thead")
        heads = [attributes for tag, attributes in page.tags if tag == "th"]
        assert all(attributes.get("scope") in ("col", "row") for attributes in heads)
        pictures = [attributes for _, attributes in page.tags if attributes.get("class") == "picture"]
        assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in pictures)
        scrolling = [attributes for _, attributes in page.tags if attributes.get("class") == "scroll"]
        assert len(scrolling) == kinds.count("table")
        assert all(attributes["tabindex"] == "0" and attributes["aria-label"] for attributes in scrolling)
        ids = [name for name in page.ids if not name.startswith(("m", "p", "C"))]  # those in pictures aside
        assert len({*ids}) == len(ids)


def test_numbers_are_those_of_the_files(pages):
    """Mean returns of every row, from the lines of the packed files, on the pages of the suite and of the agent."""
    for name in ("core-v1", "slate-v1", "sardine"):
        folder = files.PUBLISHED / name
        lines = [json.loads(line) for line in (folder / packed.RESULTS).read_text().splitlines()]
        results = {line["key"]: line for line in lines}
        returns: dict[tuple[str, str, str], list[float]] = {}
        for task, label, job in files.read_manifest(folder).entries:
            if job.key in results:
                returns.setdefault((task, label, job.agent), []).append(results[job.key]["return"]["mean"])
        for (task, label, agent), means in returns.items():
            text = f"{np.mean(means):.2f} ± "
            labels = (label, label + "*")
            assert any(
                r[0] in labels and r[1].startswith(text) for r in pages[f"suite-{name}.html"].rows if len(r) == 7
            )
            rows = [row for row in pages[f"agent-{agent}.html"].rows if row[0] == name and len(row) == 10]
            assert any(r[1] in labels and r[2] == task and r[3].startswith(text) for r in rows)
    results = tables.read_folder(files.PUBLISHED / "core-v1")
    index = {row[0]: row for row in pages["index.html"].rows}
    column = index["agent"].index("core-v1")
    for label in ("best-known", "planner", "linucb", "random"):
        found = str(results.estimate(label, results.tasks))
        assert index[results.title(label)][column] == found
    best = max((results.estimate(label, results.tasks) for label in ("dqn", "dqn expected")), key=lambda e: e.value)
    assert index["dqn"][column] == str(best), "the best of an agent's rows"


def test_cost_is_that_of_the_files(pages):
    lines = [json.loads(line) for line in (files.PUBLISHED / "core-v1" / packed.RESULTS).read_text().splitlines()]
    costs = [line["cost"] for line in lines if line["job"]["agent"] == "linucb"]
    row = next(
        r
        for r in pages["suite-core-v1.html"].rows
        if r[0] == "linucb" and r[-1] == f"{len(costs)} of {len(costs)}" and "[" not in r[1]
    )
    assert row[1:4] == [f"{np.mean([cost[f'{part}_seconds'] for cost in costs]):,.1f}"
                        for part in ("train", "curve", "evaluation")]  # fmt: skip
    assert row[4] == f"{sum(sum(cost.values()) for cost in costs) / 60:,.1f}"


def test_what_is_missing_is_said(pages):
    assert "2 missing." in pages["suite-sardine.html"].text
    rows = {row[0]: row for row in pages["index.html"].rows}
    assert rows["planner*"][rows["agent"].index("sardine")] == "missing"
    assert rows["slateq"][rows["agent"].index("sardine")] == "not normalised"
    for name in suite.SUITES:
        if not (files.PUBLISHED / name).exists():
            assert f"python -m benchmarks run {name}<" in pages["index.html"].text


def test_an_agent_has_its_docstring_settings_commands_and_versions(pages):
    page = pages["agent-dqn.html"]
    assert "Deep Q-learning (Mnih et al., Nature 2015)" in page.text
    rows = {row[0]: row for row in page.rows}
    assert rows["gamma"] == ["gamma", "0.99", "–"]
    name, default, elsewhere = rows["expected_reward"]
    assert (name, default) == ("expected_reward", "false")
    assert elsewhere.startswith("true (core-v1, dqn expected")
    assert any(
        row[3:] == ["python -m benchmarks run core-v1 --only 'dqn expected'"] for row in page.rows if len(row) == 4
    )
    assert "recgym 0.2.0" in page.text
    assert "Learning curves" in page.text
    assert "hidden state" not in page.text
    assert "Rows with a * read" in pages["agent-slateq.html"].text
    assert "a yardstick, not a competitor" in pages["agent-planner.html"].text


def test_the_page_on_submitting_names_commands_that_there_are(pages, capsys):
    text = pages["submit.html"].text
    commands = {*re.findall(r"python -m benchmarks ([a-z-]+)", text)}
    assert commands >= {"run", "report", "pack", "submit-check", "site"}
    for name in commands:
        with pytest.raises(SystemExit) as ended:
            _main(name, "--help")
        assert ended.value.code == 0
    for option in {*re.findall(r"<code>(--[a-z-]+)</code>", text)}:
        found = []
        for name in ("run", "submit-check"):
            with pytest.raises(SystemExit):
                _main(name, "--help")
            found.append(option in capsys.readouterr().out)
        assert any(found), option


def _main(*words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["benchmarks", *words])
        main()


HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "a`b`c", "../../x", "</style>")


def hostile(folder: Path) -> Path:
    """A folder without curves, with names of the worst kind; its last agent is not of recgym and not there."""
    tasks = (NamedTask(HOSTILE[0], Task("recgym/News-v0"), 100),)
    agents = (
        *(Contender(name, "random", {"seed": i}, trained=False) for i, name in enumerate(HOSTILE)),
        Contender("theirs", "<b>.py:Agent", {"x": HOSTILE[1]}, trained=False),
        *(c for c in suite.references() if c.label in ("random", "planner")),
    )
    chosen = Suite(HOSTILE[1], tasks, agents, (0,), 50)
    run.write_json(folder / "suite.json", {**chosen.manifest(), "command": HOSTILE[0]})
    for i, (_, label, job) in enumerate(chosen.entries()):
        if label == HOSTILE[2]:
            run.error_file(folder, job.key).parent.mkdir(exist_ok=True)
            run.error_file(folder, job.key).write_text(f"ValueError: {HOSTILE[0]}")
            continue
        run.write_json(run.result_file(folder, job.key), {
            "format": suite.FORMAT, "key": job.key, "job": job.to_dict(), "privileged": label == "planner",
            "return": {"mean": {"random": 1.0, "planner": 9.0}.get(label, 2.0 + i), "se": 0.1, "n": 50},
            "length": {"mean": 9.0, "median": 9.0}, "objectives": {HOSTILE[1]: 1.0}, "curve": [],
            "cost": {"train_seconds": 0.0, "evaluation_seconds": 1.0}, "software": {"recgym": HOSTILE[0]},
        })  # fmt: skip
    return folder


def test_results_are_text_whatever_they_hold(tmp_path):
    written = site(tmp_path / "site", [hostile(tmp_path / "results")])
    assert all(re.fullmatch(r"[a-z0-9-]+\.html", path.name) for path in written)
    texts = {path.name: path.read_text() for path in written}
    for text in texts.values():
        page = Page(text)
        assert text.count("<script>") == 1
        assert "img" not in {tag for tag, _ in page.tags}
        assert "49" not in [cell for row in page.rows for cell in row]
        assert all(not any(key.startswith("on") for key in attributes) for _, attributes in page.tags)
    suites = [text for name, text in texts.items() if name.startswith("suite-")]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in suites[0]
    assert "<figure>" in suites[0]
    assert "Learning curves" not in suites[0]
    theirs = texts["agent-b-py-agent.html"]
    assert "nothing of it was loaded" in theirs


def test_two_folders_of_one_suite_have_a_page_each(tmp_path):
    shutil.copytree(files.PUBLISHED / "sardine", tmp_path / "sardine")
    boards = boards_of([files.PUBLISHED / "sardine", tmp_path / "sardine", files.PUBLISHED / "slateq-v0"])
    assert [board.title for board in boards] == ["slateq-v0", "sardine", "sardine (sardine)"]
    assert len({board.file for board in boards}) == 3


def test_a_folder_without_any_result_has_a_page(tmp_path):
    folder = hostile(tmp_path / "results")
    for path in (folder / "jobs").iterdir():
        path.unlink()
    for path in site(tmp_path / "site", [folder]):
        Page(path.read_text())


@pytest.mark.parametrize("words", [("site", "nowhere"), ("site", "-o", "file.txt"), ("site", "empty")])
def test_errors_are_ours_and_nothing_is_written(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as ended:
        _main(*words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert {path.name for path in tmp_path.iterdir()} == {"file.txt", "empty"}
    with pytest.raises(ConfigError):
        site(tmp_path / "site", [tmp_path / "empty"])


def test_the_command_writes_the_site(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        _main("site", str(files.PUBLISHED / "sardine"), "-o", str(tmp_path / "out"))
    assert not ended.value.code
    assert "index.html and 7 more pages" in " ".join(capsys.readouterr().out.split())
    assert (tmp_path / "out" / "suite-sardine.html").is_file()
