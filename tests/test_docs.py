"""The documentation says what is so: tutorials and snippets run, links lead somewhere, pages have what they should."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS) for path in DOCS.rglob("*.md"))
TUTORIALS = sorted(path.stem for path in DOCS.glob("tutorials/*.py"))
needs_matplotlib = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib")


@pytest.fixture(autouse=True)
def modules_of_docs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS)


@needs_matplotlib
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", TUTORIALS)
def test_tutorials_run(name: str) -> None:
    pytest.importorskip("stable_baselines3")
    import literate

    outputs = literate.run(DOCS / f"tutorials/{name}.py", STEPS=128, USERS=10, WINDOWS=1)
    assert any(output.text for output in outputs)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", PAGES, ids=str)
def test_snippets_run(
    page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "snippet"}
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")  # windows are drawn, and not shown
    missing = []
    for needed, snippet in re.findall(
        r"(?:<!-- needs: (\w+) -->\n\n)?```python\n(.*?)```", (DOCS / page).read_text(), re.S
    ):
        if needed and importlib.util.find_spec(needed) is None:
            missing.append(needed)
        else:
            exec(compile(snippet, str(page), "exec"), names)
    if missing:
        pytest.skip(f"all but the snippets that need {', '.join(missing)}")


def test_the_shell_completes_commands() -> None:
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from benchmarks.__main__ import app

    asked = {"_RECGYM_BENCHMARKS_COMPLETE": "complete_bash", "COMP_WORDS": "recgym-benchmarks su", "COMP_CWORD": "1"}
    answer = CliRunner().invoke(app, [], env=asked, prog_name="recgym-benchmarks")
    assert answer.output.split() == ["submit-check"]


def test_the_table_of_a_first_dqn_is_of_the_records() -> None:
    text = (DOCS / "tutorials/first_dqn.py").read_text()
    tuning = ROOT / "benchmarks/tuning"
    records = [row for name in ("candidate", "stock") for row in json.loads((tuning / f"{name}.json").read_text())]
    ids = ("recgym/Ecommerce-v0", "recgym/News-v0", "recgym/LiveStream-v0")
    for agent, seeds in (("candidate", 3), ("stock", 3), ("popularity", 1)):
        found = [[row for row in records if (row["agent"], row["task"]) == (agent, id)] for id in ids]
        assert [len(rows) for rows in found] == [seeds] * 3
        assert " | ".join(", ".join(f"{row['mean']:.1f}" for row in rows) for rows in found) in text
        level = [
            next(row["mean"] for row in records if (row["agent"], row["task"]) == ("popularity", id)) for id in ids
        ]
        if agent != "popularity":
            assert all(row["mean"] > level[i] for i, rows in enumerate(found) for row in rows)


def test_the_gains_of_planning_are_those_of_the_results() -> None:
    results = (ROOT / "benchmarks/results/planning/planning.md").read_text()
    page = (DOCS / "concepts/analyse.md").read_text()
    gains = dict[str, list[str]]()
    for world, mean, low_high in re.findall(
        r"^\| (\S+) \| (?:planner|one-step) over myopic \| (\S+ %) \| (\[.*?\]) \|$", results, re.M
    ):
        gains.setdefault(world, []).append(f"{mean} {low_high}")
    assert len(gains) == 4
    for world, found in gains.items():
        assert f"| {world} | {' | '.join([*found, '–'][:2])} |" in page


def test_the_first_script_is_short() -> None:
    lines = (DOCS / "tutorials/ten_minutes.py").read_text().splitlines()
    assert sum(bool(line) and not line.startswith("#") for line in lines) <= 25


def test_the_extra_docs_has_what_pages_are_made_from() -> None:
    """Of the packages of any extra, those that a fresh Python loads for the generated pages."""
    pytest.importorskip("stable_baselines3")
    pytest.importorskip("polars")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    def packages(extra: str) -> set[str]:
        found = set()
        for line in extras[extra]:
            name, inner = re.match(r"([\w-]+)(?:\[([\w,-]+)])?", line).groups()  # type: ignore[union-attr]
            found |= {one for more in inner.split(",") for one in packages(more)} if name == "recgym" else {name}
        return found

    code = """
import json, importlib, reference, sys
for _, *modules in reference.API.values():
    for module, _ in modules:
        importlib.import_module(module)
print(json.dumps(sorted(sys.modules)))
"""
    path = {**os.environ, "PYTHONPATH": "."}
    done = subprocess.run([sys.executable, "-c", code], cwd=DOCS, env=path, capture_output=True, text=True, check=True)
    loaded = {*json.loads(done.stdout.splitlines()[-1])}
    needed = {name for extra in extras for name in packages(extra) if name.replace("-", "_") in loaded}
    assert {"polars", "torch"} <= needed <= packages("docs")


def test_every_page_and_tutorial_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().partition("nav:")[2]
    for name in [*map(str, PAGES), *(f"tutorials/{name.replace('_', '-')}.md" for name in TUTORIALS)]:
        assert name in navigation, name


def test_links_of_generated_pages_lead_to_sections() -> None:
    """MkDocs checks this, too, where it is installed."""
    pytest.importorskip("stable_baselines3")
    import reference

    pages = [reference.environment(id) for id in ("recgym/News-v0", "recgym/Sardine-SlateTopK-Bored-v0")]
    pages += [reference.environments(), reference.families(), reference.agents()]
    pages += [reference.family(name) for name in reference.FAMILIES] + [reference.api(name) for name in reference.API]
    text = {page.path: page.text for page in pages}
    links = 0
    for path, content in text.items():
        for address in re.findall(r"\]\(([^)\s]+)\)", content):
            file, _, anchor = address.partition("#")
            target = str((Path("/") / path).parent.joinpath(file).resolve())[1:] if file else path
            if target in text and anchor:
                assert f"#{anchor} }}" in text[target], (path, address)
                links += 1
    assert links > 100


def test_environment_pages_have_what_gymnasium_makes() -> None:
    pytest.importorskip("stable_baselines3")
    import reference

    text = reference.environment("recgym/NewsSlate-v0").text
    assert "`MultiDiscrete([20] * 5)`" in text
    assert "(249,)" in text
    published = (ROOT / "benchmarks/results/slate-v1/leaderboard.md").read_text().split("## NewsSlate-v0")[1]
    rows = [line for line in published.partition("\n## ")[0].splitlines() if "±" in line and line.startswith("|")]
    assert len(rows) > 5
    assert all(row in text for row in rows)
    for heading in (
        "Description",
        "Action Space",
        "Observation Space",
        "Rewards",
        "Episode End",
        "Arguments",
        "Levels",
    ):
        assert f"\n## {heading}\n" in text


def test_every_environment_has_learning_curves_or_says_that_there_are_none() -> None:
    pytest.importorskip("stable_baselines3")
    import reference

    said = "No learner of theirs has curves here."
    without = {id for id in reference.IDS if said in reference.environment(id).text}
    drawn = {id for id in reference.IDS if '<figure class="curves">' in reference.environment(id).text}
    assert {*reference.IDS} == without ^ drawn
    assert {"recgym/News-v0", "recgym/RecoGym-v1"} <= drawn


def test_docstrings_become_markdown() -> None:
    import docstrings

    doc = """What it is: `Thing`.

    level <- 0.5 level, for a <b>.

        v = 2 u.x

    Example::

        thing = Thing(1)

    Args:
        a, b: numbers; note: these are
            two. c: another, in `Thing`.

    Raises:
        ConfigError: it is wrong. SlateError: it is another.
    """
    assert docstrings.markdown(doc, lambda name: "x.md#Thing" if name == "Thing" else None, ["a", "b", "c"]) == (
        "What it is: [`Thing`](x.md#Thing).\n\n"
        "level <- 0.5 level, for a &lt;b>.\n{ .equation }\n\n"
        "```{ .text .equation }\nv = 2 u.x\n```\n\n"
        "Example:\n\n```python\nthing = Thing(1)\n```\n\n"
        "**Args:**\n\n- `a`, `b`: numbers; note: these are two.\n- `c`: another, in [`Thing`](x.md#Thing).\n\n"
        "**Raises:**\n\n- `ConfigError`: it is wrong.\n- `SlateError`: it is another.\n"
    )


def formulas(html: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(math) for math in re.findall(r"<math .*?</math>", html, re.S)]


def test_equations_of_environments_and_parts_are_typeset_with_all_their_numbers() -> None:
    pytest.importorskip("stable_baselines3")
    import reference

    pages = [reference.environment(id) for id in reference.IDS] + [reference.family(n) for n in reference.FAMILIES]
    for page in pages:
        assert ".equation }\n" not in page.text.replace("\n{ .equation }\n", ""), page.path  # none is left as code
        for math in formulas(page.text):
            source = math.get("alttext") or ""
            numbers = re.findall(r"(?<![A-Za-z_])\d[\d,]*(?:\.\d+)?", source)
            assert [mark.text for mark in math.iter("mn")] == [number.rstrip(",") for number in numbers], source
            letters = re.findall(r"(?<![\w'])(?<!\w-)[A-Za-z](?![A-Za-z'])", re.sub("[_{}]", " ", source))
            shown = [mark.text for mark in math.iter("mi") if re.fullmatch("[A-Za-z]", mark.text or "")]
            assert shown == letters, source
    found = {page.path: len(formulas(page.text)) for page in pages}
    assert all(found[f"environments/{id.partition('/')[2]}.md"] > 2 for id in reference.IDS), found
    assert sum(found.values()) > 250


def test_the_notation_of_equations() -> None:
    import equations

    def tree(math: ElementTree.Element) -> Any:
        return [tree(part) for part in math] if len(math) else math.text

    def shown(html: str) -> list[Any]:
        return [tree(math) for math in formulas(html)]

    assert shown(equations.inline("so that u <- normalise(0.9 u), and")) == [
        ["u", "←", ["normalise", ["(", "0.9", None, "u", ")"]]]
    ]
    equation, rest = equations.display("P(k) = a b_k / (1 + sum over j of exp(v_j)), for all k") or ("", "")
    assert rest == "for all k"
    assert shown(equation) == [
        [["P", ["(", "k", ")"]], "="],
        [[["a", None, ["b", "k"]], ["1", "+", [["∑", "j"], None, ["exp", ["(", ["v", "j"], ")"]]]]]],
    ]
    assert shown((equations.display("2 u.x + sqrt(d) - level[topic]") or ("", ""))[0]) == [
        ["2", None, "u", "·", "x", "+", ["d"], "−", ["level", "topic"]]
    ]
    assert equations.display("what = is this?") is None
    assert equations.display("it leaves (or not") is None
    for prose in (
        "A step is one shelf, of five items. I (see below) have 3 of a kind, 5 % in [0, 1] and (B, S) int32.",
        "the columns half_life (minutes) and click_rate; a user (SARDINE) - b is 2",
        "item(s) - and so on / or not",
    ):
        assert equations.inline(prose, "") == prose
    assert equations.inline("x < 3 for <b> where x counts", "x") == (
        f"{equations.inline('x < 3')} for &lt;b> where <var>x</var> counts"
    )


def test_scripts_become_cells() -> None:
    import literate

    script = "# # Title\n#\n# Text.\n\nx = 1\n\n\n# a comment of code\ny = 2\n\n# More.\n"
    cells = literate.cells(script)
    assert [(cell.code, cell.source) for cell in cells] == [
        (False, "# Title\n\nText."),
        (True, "x = 1\n\n\n# a comment of code\ny = 2"),
        (False, "More."),
    ]
    assert cells[1].line == 4


def test_the_picture_of_the_landing_page() -> None:
    image = pytest.importorskip("PIL.Image")
    path = DOCS / "assets/session.webp"
    assert path.stat().st_size < 500_000
    with image.open(path) as picture:
        assert picture.n_frames > 10
        assert np.asarray(picture.convert("RGB")).std() > 10


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site without tutorials and pictures, which take long; a missing page, a broken link or anchor is an error."""
    pytest.importorskip("mkdocs", reason='needs pip install -e ".[docs]"')
    pytest.importorskip("material", reason='needs pip install -e ".[docs]"')
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
    hooks: Any = sys.modules.get("docs/hooks.py") or next(m for n, m in sys.modules.items() if n.endswith("hooks.py"))
    pixel = "UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="

    def quick(name: str, *_: Any) -> Any:
        name = name.removeprefix("picture-") if name.startswith("picture-") else ""
        return {f"{name}.webp": pixel, f"{name}-still.webp": pixel} if name else []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hooks, "kept", quick)
        build(config)
    return folder


@pytest.mark.filterwarnings("default")
def test_the_site_is_built(site: Path) -> None:
    assert (site / "environments/News-v0.html").exists()
    assert (site / "tutorials/first-dqn.html").exists()
    pages = {path: Elements(path.read_text()) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(pages) > 60
    for path, page in pages.items():
        for address in page.loaded:  # nothing from elsewhere, so that the site works from disk
            assert address.startswith("data:") or (path.parent / address.partition("?")[0]).is_file(), (path, address)
        for address in page.links:
            if not re.match(r"https?:|mailto:", address):
                file, _, anchor = address.partition("#")
                target = (path.parent / file).resolve() if file else path
                assert target.is_file(), (path, address)
                assert not anchor or anchor == "__skip" or anchor in pages[target].anchors, (path, address)


@pytest.mark.filterwarnings("default")
def test_the_search_works_from_disk(site: Path) -> None:
    from chromium import Chromium, chromium

    if not chromium():
        pytest.skip("needs Chromium")
    with Chromium() as browser:
        page = browser.page(1280, 900)
        page.open((site / "concepts/yardsticks.html").as_uri() + "?q=differential+privacy")
        found = page.wait("[...document.querySelectorAll('.md-search-result__link')].map(link => link.href).join(' ')")
        assert "/concepts/privacy.html" in found
        assert all(address.startswith(("file:", "data:")) for address in page.addresses())
        assert not page.complaints()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("width", [1280, 390])
def test_equations_are_shown_whole(site: Path, width: int) -> None:
    from chromium import Chromium, chromium

    if not chromium():
        pytest.skip("needs Chromium")
    cut = "[...document.querySelectorAll('p.equation')].filter((e) => e.scrollHeight > e.clientHeight).length"
    with Chromium() as browser:
        for name in ("environments/EcommerceSlate-v0", "environments/News-v0", "parts/choice"):
            page = browser.page(width, 900)
            page.open((site / f"{name}.html").as_uri())
            page.wait("document.readyState === 'complete' && document.querySelectorAll('p.equation').length > 1")
            assert page.js(cut) == 0, name


class Elements(HTMLParser):
    """What a page loads, the addresses that it links, and the anchors that it has."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors.update(given[name] for name in ("id", "name") if name in given)
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") in ("stylesheet", "icon"):
            self.loaded.append(given["href"])
        self.loaded += [given[name] for name in ("src", "srcset") if name in given]


@pytest.mark.filterwarnings("default")
def test_a_session_is_drawn_for_the_page_of_an_environment() -> None:
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    import pictures

    moving, still = pictures.session("recgym/LiveStream-v0", steps=6)
    assert len(moving) < pictures.LIMIT
    with image.open(io.BytesIO(moving)) as picture, image.open(io.BytesIO(still)) as last:
        assert picture.n_frames == 3
        assert picture.size == pictures.SMALL
        assert getattr(last, "n_frames", 1) == 1
        first = np.asarray(picture.convert("RGB"), float)
        picture.seek(2)
        assert np.abs(np.asarray(picture.convert("RGB"), float) - first).max() > 50
