"""What MkDocs calls to make the site: generated pages, executed tutorials, pictures, and the files of the repository.

What takes long, running tutorials and drawing sessions, is kept in build/docs-cache under a hash of all code, so that it
is done again only after a change.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # before MkDocs' modules of the same names

import docstrings
import literate
import pictures
import reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = reference.ROOT
TUTORIALS = Path(__file__).parent / "tutorials"
CACHE = ROOT / "build/docs-cache"
INCLUDED = {  # files of the repository that are pages
    "CHANGELOG.md": "about/changelog.md",
    "ARCHITECTURE.md": "about/architecture.md",
    "CONTRIBUTING.md": "about/contributing.md",
    "CODE_OF_CONDUCT.md": "about/conduct.md",
    "benchmarks/suites/README.md": "leaderboards/suites.md",
    "benchmarks/results/audit/audit.md": "leaderboards/audit.md",
    "benchmarks/results/references-classics/references.md": "leaderboards/references-classics.md",
    "benchmarks/results/throughput.md": "leaderboards/throughput.md",
    "benchmarks/results/planning/planning.md": "leaderboards/planning.md",
    "benchmarks/results/recovery/recovery.md": "leaderboards/recovery.md",
    **{f"benchmarks/results/{suite}/leaderboard.md": f"leaderboards/{suite}.md" for suite in reference.suites()},
}
ELSEWHERE = {"README.md": "index.md", "CITATION.cff": "about/cite.md"}  # what a link to a file of the repository means
TITLES = {
    "audit": "Is it worth solving?",
    "planning": "Would planning pay?",
    "recovery": "World, logs, fit, world",
    "references-classics": "References of the classics",
    "suites": "Suites",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages into the navigation, in the place of "..."."""
    lists: dict[str, list[Any]] = {
        "Environments": [reference.page_of(id) for id in reference.IDS],
        "Parts": [f"parts/{name}.md" for name in reference.FAMILIES],
        "Leaderboards": [f"leaderboards/{suite}.md" for suite in reference.suites()],
        "API": ["api/agents.md", *(f"api/{name}.md" for name in reference.API)],
    }
    for entry in config.nav or []:
        for title, pages in entry.items():
            if title in lists:
                at = pages.index("...")
                pages[at : at + 1] = lists[title]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is generated."""
    pages = [reference.environments(), reference.families(), reference.agents()]
    pages += [reference.environment(id) for id in reference.IDS]
    pages += [reference.family(name) for name in reference.FAMILIES]
    pages += [reference.api(name) for name in reference.API]
    pages += [reference.Page(page, included(source, page)) for source, page in INCLUDED.items()]
    for path, text in pages:
        files.append(File.generated(config, path, content=text))
    for source in INCLUDED:
        for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", (ROOT / source).read_text()):
            image = (ROOT / source).parent / name
            place = f"leaderboards/{picture_name(source, name)}"
            files.append(File.generated(config, place, content=image.read_bytes()))
    for id in reference.IDS:
        name = id.partition("/")[2]
        for file, content in drawn(id).items():
            files.append(File.generated(config, f"pictures/{file}", content=b64decode(content)))
    for path in sorted(TUTORIALS.glob("*.py")):
        outputs = [literate.Output(o["text"], [b64decode(p) for p in o["pictures"]]) for o in executed(path)]
        name = path.stem.replace("_", "-")
        text = literate.page(path, outputs, f"{name}-{{cell}}-{{number}}.png")
        text += f"\n---\n\nThe whole script: `docs/tutorials/{path.name}`. It was run when this page was made.\n"
        files.append(File.generated(config, f"tutorials/{name}.md", content=text))
        for n, output in enumerate(outputs):
            for k, picture in enumerate(output.pictures):
                files.append(File.generated(config, f"tutorials/{name}-{n}-{k}.png", content=picture))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the citation where a page asks for it, and links on names in concepts and tutorials."""
    path = page.file.src_uri
    if path.startswith(("concepts/", "tutorials/")):
        markdown = docstrings.linked(markdown, reference.linker(path))
    return markdown.replace("<!-- citation -->", citation()) if "<!-- citation -->" in markdown else markdown


def citation() -> str:
    """CITATION.cff, and the same for BibTeX."""
    text = (ROOT / "CITATION.cff").read_text()
    field = {name: re.search(rf'^{name}: "?(.*?)"?$', text, re.M)[1] for name in ("title", "version", "date-released")}  # type: ignore[index]
    author = re.search(r"^authors:\n  - name: (.*)$", text, re.M)[1]  # type: ignore[index]
    year, month, _ = field["date-released"].split("-")
    bibtex = f"@software{{recgym,\n  title = {{{{{field['title']}}}}},\n  author = {{{{{author}}}}},\n"
    bibtex += f"  version = {{{field['version']}}},\n  year = {{{year}}},\n  month = {int(month)},\n}}"
    return f"```bibtex\n{bibtex}\n```\n\n`CITATION.cff`:\n\n```yaml\n{text}```"


def picture_name(source: str, name: str) -> str:
    """The name of a picture of results in the site."""
    folder = Path(source).parent.name
    return name if folder == "results" else f"{folder}-{name}"


def included(source: str, page: str) -> str:
    """A file of the repository as a page: links lead to pages of the site, or are the path of the file."""
    text = (ROOT / source).read_text()
    name = Path(page).stem
    if "\n# " not in f"\n{text}":
        text = f"# {TITLES.get(name, name)}\n\n{text}"
    text = re.sub(r"\A# custom$", f"# {name}", text, flags=re.M)
    text = re.sub(r"^```\n(?=python -m)", "```bash\n", text, flags=re.M)

    def follow(match: re.Match[str]) -> str:
        mark, label, address = match.groups()
        if mark:
            return f"![{label}]({picture_name(source, address)})"
        if re.match(r"https?:|#", address):
            return match[0]
        file, _, anchor = address.partition("#")
        target = os.path.normpath(Path(source).parent / file)
        place = {**INCLUDED, **ELSEWHERE}.get(target)
        if not place:
            return f"{label} (`{target}`)" if label.strip("`") != target else f"`{target}`"
        return f"[{label}]({reference.relative(page, place)}{'#' if anchor else ''}{anchor})"

    return re.sub(r"(!?)\[([^]]*)\]\(([^)\s]+)\)", follow, text)


def executed(path: Path) -> list[dict[str, Any]]:
    """What the cells of a tutorial print and draw."""

    def run() -> Any:
        print(f"running {path.name}")
        return [{"text": o.text, "pictures": [encoded(p) for p in o.pictures]} for o in literate.run(path)]

    return kept(f"tutorial-{path.stem}", (path, literate.__file__), run)


def drawn(id: str) -> dict[str, str]:
    """The pictures of an environment: file name -> content."""

    def draw() -> Any:
        print(f"drawing {id}")
        moving, still = pictures.session(id)
        name = id.partition("/")[2]
        return {f"{name}.webp": encoded(moving), f"{name}-still.webp": encoded(still)}

    return kept(f"picture-{id.partition('/')[2]}", (pictures.__file__,), draw)


def encoded(content: bytes) -> str:
    """Bytes as text."""
    return b64encode(content).decode()


@cache
def _code() -> bytes:
    """A digest of the packages."""
    digest = hashlib.sha256()
    for package in ("recgym", "baselines", "benchmarks"):
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.digest()


def kept(name: str, sources: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    """What `make` returns, plain JSON values, kept as long as no code changes."""
    digest = hashlib.sha256(_code() + b"".join(Path(source).read_bytes() for source in sources)).hexdigest()[:16]
    file = CACHE / f"{name}-{digest}.json"
    if not file.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        content = json.dumps(make())
        for old in CACHE.glob(f"{name}-{'?' * 16}.json"):
            old.unlink()
        file.write_text(content)
    return json.loads(file.read_text())
