"""The generated pages: one for each environment, the families of parts, the API and the committed results."""

from __future__ import annotations

import inspect
import pkgutil
import posixpath
import re
from collections.abc import Callable
from functools import cache
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from docstrings import first_sentence, markdown, signature

import recgym
from benchmarks.page import curves_chart, styles_of
from benchmarks.tables import Results, read_folder
from recgym.component import KINDS, Component
from recgym.world import World

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks/results"
OURS = ("Task", "Agent", "evaluate", "make_agent")  # what `import baselines` gives
IDS = (*recgym.ENV_IDS, *recgym.CLASSIC_IDS)
FAMILIES = {  # page -> title, module, base class
    "preference": ("Preference", "recgym.models.preference", "Preference"),
    "choice": ("Choice", "recgym.models.choice", "Choice"),
    "response": ("Response", "recgym.models.response", "Response"),
    "dynamics": ("Dynamics", "recgym.models.dynamics", "Dynamics"),
    "departure": ("Departure", "recgym.models.departure", "Departure"),
    "candidates": ("Candidates", "recgym.models.candidates", "CandidateSource"),
    "reward": ("Reward", "recgym.models.reward", "Reward"),
    "population": ("Population", "recgym.population", "Population"),
    "market": ("Market", "recgym.market", "Market"),
}
API = {  # page -> title, then (module, names) in order
    "environments": (
        "Environments and worlds",
        ("recgym.envs", ["RecVectorEnv", "RecEnv", "EnvState"]),
        ("recgym.worlds", ["load_world"]),
        ("recgym.world", ["World"]),
        ("recgym.registry", ["register_world", "registered_worlds", "fitted_worlds"]),
        ("recgym.noise", ["mix", "noise"]),
        ("recgym.errors", ["RecgymError", "ConfigError", "OptionError", "SlateError", "FitError"]),
    ),
    "data": (
        "Parts and data",
        ("recgym.component", ["Component"]),
        ("recgym.types", ["Users", "Feedback", "Column", "Sizes"]),
        ("recgym.catalog", ["Catalog"]),
    ),
    "forms": (
        "Actions and observations",
        ("recgym.actions", ["Action", "ItemAction", "SlateAction", "EmbeddingAction", "WeightsAction"]),
        (
            "recgym.observations",
            ["Observation", "FlatObservation", "DictObservation", "LatentObservation", "CompactObservation"],
        ),
    ),
    "testing": (
        "Checks of contracts",
        ("recgym.testing", ["check_component", "check_world", "check_env", "check_agent"]),
    ),
    "logs": (
        "Logs and fitting",
        ("recgym.logs", []),
        (
            "recgym.logs.privacy",
            ["hash_ids", "k_anonymous", "gaussian_sigma", "epsilon_of", "private_counts", "private_moments"],
        ),
        ("recgym.logs.private_training", ["private_training", "PrivateTraining"]),
        ("recgym.fit", []),
        ("recgym.fit.worlds", ["fit_world", "Fitted"]),
        ("recgym.fit.heldout", ["held_out"]),
        ("recgym.fit.scores", ["HeldOut", "Score"]),
        ("recgym.fit.replay", ["replay", "beside"]),
        ("recgym.fit.folder", ["fit_and_report", "write_world"]),
        ("recgym.fit.world_report", ["WorldReport"]),
    ),
    "baselines": (
        "baselines: training and evaluating",
        ("baselines.agent", ["Task", "Agent", "OnlineAgent", "evaluate", "Score"]),
        ("baselines.registry", ["make_agent", "agent_class"]),
        ("baselines.sb3_env", ["SB3VecEnv"]),
        (
            "baselines.sb3_policies",
            ["CandidatePolicy", "CandidateActor", "MaskableCandidateActor", "RecurrentCandidateActor"],
        ),
        ("baselines.encoders", ["CandidateHead", "head_of"]),
        ("baselines.explain", ["explain", "show", "Explanation"]),
    ),
}


class Page(NamedTuple):
    """A generated page."""

    path: str  # in the site, ending in .md
    text: str


def page_of(id: str) -> str:
    """Path of the page of an environment."""
    return f"environments/{id.partition('/')[2]}.md"


@cache
def places() -> dict[str, str]:
    """Where a name has its section: name -> "page.md#anchor"."""
    found: dict[str, str] = {}
    for page, (_, *modules) in API.items():
        for module, names in modules:
            for name in names or _public(module):
                found[name] = found[f"{module}.{name}"] = f"api/{page}.md#{name}"
                thing = getattr(import_module(module), name)
                for method, *_ in _methods(thing) if inspect.isclass(thing) else ():
                    found[f"{name}.{method}"] = f"api/{page}.md#{name}.{method.strip('_')}"
            found.setdefault(module, f"api/{page}.md")
    for page, (_, module, base) in FAMILIES.items():
        found[module] = f"parts/{page}.md"
        for kind in [_class(module, base), *parts_of(page)]:
            found[kind.__name__] = f"parts/{page}.md#{kind.__name__}"
    for name, target in _agents().items():
        found.setdefault(target.__name__, f"api/agents.md#{name}")
    for id in IDS:
        found.setdefault(id, page_of(id))
        found.setdefault(gym.spec(id).entry_point.partition(":")[2], page_of(id))  # type: ignore[union-attr]
    return found


def linker(page: str) -> Callable[[str], str | None]:
    """What `docstrings.markdown` asks for the addresses of names on a page."""

    def link(name: str) -> str | None:
        bare = name.removeprefix("recgym.").removeprefix("baselines.")
        place = places().get(name) or places().get(bare if bare.split(".")[0] in (*recgym.__all__, *OURS) else name)
        return place and relative(page, place)

    return link


def relative(page: str, place: str) -> str:
    """The address of a place, "page.md#anchor", as seen from a page."""
    file, hash, anchor = place.partition("#")
    return ("" if file == page else posixpath.relpath(file, posixpath.dirname(page) or ".")) + hash + anchor


def _class(module: str, name: str) -> Any:
    return getattr(import_module(module), name)


def _public(module: str) -> list[str]:
    """Classes and functions that a module defines or, where it is a package, hands on."""
    loaded = import_module(module)
    own = [name for name in dir(loaded) if not name.startswith("_") and inspect.getdoc(getattr(loaded, name))]
    kinds = [
        name for name in own if inspect.isclass(getattr(loaded, name)) or inspect.isfunction(getattr(loaded, name))
    ]
    return [name for name in kinds if getattr(loaded, name).__module__.startswith(module)]


@cache
def _loaded() -> None:
    for package in ("recgym.models", "recgym.models.response", "recgym.models.dynamics"):
        for info in pkgutil.iter_modules(import_module(package).__path__, package + "."):
            import_module(info.name)
    for _, module, _ in FAMILIES.values():
        import_module(module)


def parts_of(family: str) -> list[type[Component]]:
    """The parts of a family that ship with recgym, in the order of their definition."""
    _loaded()
    _, module, base = FAMILIES[family]
    found = [kind for kinds in KINDS.values() for kind in kinds if issubclass(kind, _class(module, base))]
    return [kind for kind in found if kind.__module__.startswith("recgym.")]


@cache
def _agents() -> dict[str, Any]:
    from baselines import REGISTRY, agent_class

    return {name: agent_class(name) for name in REGISTRY}


@cache
def _env(id: str) -> Any:
    return gym.make(id).unwrapped


@cache
def users_of_parts() -> dict[str, list[str]]:
    """Name of a part -> ids of the environments that have it."""
    found: dict[str, list[str]] = {}
    for id in IDS:
        for part in _env(id).batch.world.parts:
            found.setdefault(part.kind, []).append(id)
    return found


# Environments


def environment(id: str) -> Page:
    """The page of an environment: picture, spaces, parts, the docstring, and what agents earned."""
    env, path = _env(id), page_of(id)
    link = linker(path)
    title, _, body = inspect.cleandoc(type(env).__doc__ or "").partition("\n")
    name = id.partition("/")[2]
    text = f"# {name}\n\n{markdown(title, link)}\n{_picture(name)}\n\n"
    text += f'```python\nimport gymnasium as gym\nimport recgym\n\nenv = gym.make("{id}")\n```\n\n'
    text += _facts(env) + "\n" + markdown(body, link, maths=True) + "\n" + _parts(env, link) + _scores(id, path)
    return Page(path, text)


def _picture(name: str) -> str:
    """A session; whoever asked for less motion sees its last step alone."""
    about = f"A session in {name}: slate, what the user did, the hidden state, and reward by step"
    return (
        f'<picture><source srcset="../pictures/{name}-still.webp" media="(prefers-reduced-motion: reduce)">'
        f'<img src="../pictures/{name}.webp" alt="{about}" width="720" height="420"></picture>\n\n'
        '*A user whom the `myopic` oracle serves, every second step, drawn by `render_mode="rgb_array"`.*'
    )


def _facts(env: Any) -> str:
    """What `gymnasium.make` gives, as tables."""
    world: World = env.batch.world
    weights, shown = env.batch.weights
    pay = [f"{w:g} {name}" for name, w in zip(world.objectives, weights) if w]
    pay += [f"{shown:g} per item shown"] if shown else []
    space = env.observation_space
    rows = {
        "actions": f"`{_space(env.action_space)}`",
        "observations": f"`{_space(space)}`",
        "reward of a step": " + ".join(pay),
        "objectives": ", ".join(world.objectives),
        "catalogue": f"{len(world.catalog):,} items, {world.sizes.topics} topics",
        "candidates per step": f"{world.n_candidates:,}",
        "slate": str(world.slate_size),
        "horizon": f"{world.horizon} steps",
    }
    text = f"| | `{env.spec.id}` |\n| --- | --- |\n" + "".join(
        f"| {name} | {value} |\n" for name, value in rows.items()
    )
    text += '\n??? info "The numbers of an observation, one by one"\n\n'
    text += "    | block | columns | shape | last axis |\n    | --- | --- | --- | --- |\n"
    for name, block in env.observation_layout.items():
        parts = ", ".join(
            f"{p.name}{f' ({p.width})' if p.width > 1 else ''} [{p.low:.4g}, {p.high:.4g}]" for p in block.parts
        )
        text += f"    | `{name}` | {block.slice.start} to {block.slice.stop - 1} | {block.shape} | {parts} |\n"
    return text


def _space(space: Any) -> str:
    """A space in a line; bounds of a Box that differ are given as the outermost."""
    if isinstance(space, gym.spaces.MultiDiscrete) and len(set(space.nvec.tolist())) == 1:
        return f"MultiDiscrete([{space.nvec[0]}] * {len(space.nvec)})"
    if isinstance(space, gym.spaces.Box):
        low, high = (float(f(bound)) for f, bound in ((np.min, space.low), (np.max, space.high)))
        return f"Box({low:g}, {high:g}, {space.shape}, {space.dtype})"
    return str(space)


def _parts(env: Any, link: Callable[[str], str | None]) -> str:
    """The parts of the world, with their numbers."""
    text = "## Parts\n\nWhat `env.unwrapped.batch.world` is made of; each can be [exchanged](../concepts/world.md).\n\n"
    text += "| part | settings |\n| --- | --- |\n"
    for part in env.batch.world.parts[1:]:
        settings = re.sub(r"^\w+\(|\)$", "", repr(part))
        address = link(part.kind)
        text += f"| [{part.kind}]({address}) | {f'`{settings}`' if settings else ''} |\n"
    return text + "\n"


def _scores(id: str, page: str) -> str:
    """What agents earned in committed results."""
    name, text = id.partition("/")[2], ""
    for suite in suites():
        for heading, table, _ in sections(suite):
            if heading.split()[0] == name:
                options = heading.removeprefix(name).strip()
                with_options = f", with `{options}`" if options else ""
                place = relative(page, f"leaderboards/{suite}.md")
                text += f"### {suite}{f' {options}' if options else ''}\n\nFrom the leaderboard [{suite}]({place}){with_options}.\n\n{table}\n\n"
                text += curves(suite, heading)
    for heading, table, _ in sections("references-classics", "references.md"):
        lines = table.splitlines()
        rows = [line for line in lines[2:] if line.startswith(f"| {name} ")]
        if rows:
            place = relative(page, "leaderboards/references-classics.md")
            text += (
                f"### {heading}\n\nFrom [the references of the classics]({place}).\n\n"
                + "\n".join([*lines[:2], *rows])
                + "\n\n"
            )
    if text:
        note = "\\*: reads the simulator's hidden state. What the columns mean stands below each leaderboard.\n\n"
        untrained = "" if 'class="curves"' in text else "No learner of theirs has curves here.\n\n"
        text = f"## Reference scores\n\nFrom the committed results. {note}{untrained}{text}"
    return text


def curves(suite: str, task: str) -> str:
    """Learning curves of committed results on a task, as a figure; empty where there are none."""
    results = _results(suite)
    text = ""
    for chart in curves_chart(results, task, results.labels, styles_of(results)) if task in results.tasks else []:
        legend = "".join(f"<li>{swatch} {escape(label)}</li>" for label, swatch in chart.legend)
        text += f'<figure class="curves"><figcaption><b>{chart.title}.</b> {escape(chart.about)}</figcaption>'
        text += f'<div role="img" aria-label="{chart.title}">{chart.svg}</div><ul>{legend}</ul></figure>\n\n'
    return re.sub(r"\n\s*(?=\S)", " ", text).strip() + "\n\n" if text else ""


@cache
def _results(suite: str) -> Results:
    return read_folder(RESULTS / suite)


def suites() -> list[str]:
    """Folders of committed results that have a leaderboard."""
    order = ["core-v1", "slate-v1", "long-v1"]
    found = sorted(path.parent.name for path in RESULTS.glob("*/leaderboard.md"))
    return sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))


@cache
def sections(suite: str, file: str = "leaderboard.md") -> list[tuple[str, str, str]]:
    """(heading, first table, all text) of each section of a file of results."""
    parts = re.split(r"^## ([^\n]+)\n", (RESULTS / suite / file).read_text(), flags=re.M)[1:]
    found = []
    for heading, text in zip(parts[::2], parts[1::2]):
        table = re.search(r"^\|.*?(?=\n\n|\Z)", text.strip(), re.S | re.M)
        found.append((heading, table[0].strip() if table else "", text))
    return found


def environments() -> Page:
    """The list of all environments."""
    path = "environments/index.md"
    text = "# Environments\n\nAll ids that `import recgym` registers, and what `gymnasium.make` gives for them.\n\n"
    for title, ids in (("The three domains", recgym.ENV_IDS), ("The literature's environments", recgym.CLASSIC_IDS)):
        text += f"## {title}\n\n| id | | actions | observations | candidates | steps at most |\n| --- | --- | --- | --- | ---: | ---: |\n"
        for id in ids:
            env = _env(id)
            world, width = env.batch.world, env.observation_space.shape
            about = first_sentence(type(env).__doc__)
            text += f"| [{id.partition('/')[2]}]({relative(path, page_of(id))}) | {about} | `{_space(env.action_space)}` | {width} | {world.n_candidates:,} | {world.horizon} |\n"
        text += "\n"
    return Page(path, text)


# Parts


def family(name: str) -> Page:
    """The page of a family of parts."""
    title, module, base = FAMILIES[name]
    path = f"parts/{name}.md"
    link = linker(path)
    text = f"# {title}\n\n{markdown(import_module(module).__doc__ or '', link, maths=True)}\n"
    parts = parts_of(name)
    text += "| part | | in |\n| --- | --- | --- |\n"
    for kind in parts:
        ids = users_of_parts().get(kind.__name__, [])
        where = ", ".join(f"[{id.partition('/')[2]}]({relative(path, page_of(id))})" for id in ids) or "–"
        text += f"| [{kind.__name__}](#{kind.__name__}) | {first_sentence(kind.__doc__)} | {where} |\n"
    text += "\n"
    for kind in parts:
        text += section(kind, kind.__name__, link, methods=False, maths=True)
    text += f"## The base: {base} {{ #{base} }}\n\n"
    text += "What a part of your own extends, and its contract; `recgym.testing.check_component` checks it.\n\n"
    return Page(path, text + section(_class(module, base), base, link, level=0))


def families() -> Page:
    """The list of all parts."""
    text = (
        "# Parts\n\nA [world](../concepts/world.md) is one part of each of these families, and any number of dynamics. "
    )
    text += "Each page gives the equations of its parts, their numbers with defaults, and the environments that use them.\n\n"
    text += "| family | parts |\n| --- | --- |\n"
    for name, (title, _, _) in FAMILIES.items():
        kinds = ", ".join(f"[{kind.__name__}]({name}.md#{kind.__name__})" for kind in parts_of(name))
        text += f"| [{title}]({name}.md) | {kinds} |\n"
    return Page("parts/index.md", text)


# API


def section(
    thing: Any,
    name: str,
    link: Callable[[str], str | None],
    methods: bool = True,
    level: int = 2,
    anchor: str = "",
    maths: bool = False,
) -> str:
    """A class or a function: signature, docstring (with equations typeset?), public methods. Level 0: without a heading."""
    text = f"{'#' * level} {name} {{ #{anchor or name} }}\n\n" if level else ""
    text += f"```python\n{signature(thing, thing.__name__)}\n```\n\n"
    names = _parameters(thing)
    text += markdown(_own_doc(thing), link, names, maths) + "\n"
    if methods and inspect.isclass(thing):
        for method, inner, is_value in _methods(thing):
            shown = method if is_value else signature(inner, method)
            text += f"{'#' * ((level or 2) + 1)} `{method}` {{ #{anchor or name}.{method.strip('_')} }}\n\n"
            text += f"```python\n{shown}\n```\n\n{markdown(inner.__doc__, link, _parameters(inner))}\n"
    return text


def _methods(thing: type) -> list[tuple[str, Any, bool]]:
    """Public methods and properties that a class documents itself: name, function, and whether it is read like a value."""
    found = []
    for name, given in vars(thing).items():
        inner = getattr(given, "__func__", given)
        inner = getattr(inner, "fget", None) or getattr(inner, "func", None) or inner
        public = name == "__call__" or not name.startswith("_")
        if public and inspect.isfunction(inner) and inner.__doc__:
            found.append((name, inspect.unwrap(inner), isinstance(given, property) or hasattr(given, "attrname")))
    return found


def _own_doc(thing: Any) -> str:
    """The docstring, but not the one that NamedTuple and dataclass make of the signature."""
    doc = (thing.__dict__.get("__doc__") if inspect.isclass(thing) else thing.__doc__) or ""
    return "" if re.match(rf"{thing.__name__}\(", doc) else doc


def _parameters(thing: Any) -> list[str]:
    try:
        return list(inspect.signature(thing).parameters)
    except (TypeError, ValueError):
        return []


def api(name: str) -> Page:
    """A page of the reference."""
    title, *modules = API[name]
    path = f"api/{name}.md"
    link = linker(path)
    text = f"# {title}\n\n"
    for module, names in modules:
        loaded = import_module(module)
        about = markdown(loaded.__doc__ or "", link) if not names or len(names) > 1 else ""
        text += f"## {module}\n\n{about}\n"
        for each in names or _public(module):
            text += section(getattr(loaded, each), each, link, level=3)
    return Page(path, text)


def agents() -> Page:
    """The registered agents."""
    path = "api/agents.md"
    link = linker(path)
    text = (
        '# Agents\n\nWhat `make_agent("name", ...)` makes; the arguments are hyper-parameters. An agent that reads the '
    )
    text += "simulator's hidden state is a reference, not a competitor.\n\n| name | | reads hidden state |\n| --- | --- | --- |\n"
    for name, kind in _agents().items():
        text += f"| [{name}](#{name}) | {first_sentence(kind.__doc__)} | {_reads(kind)} |\n"
    text += "\n"
    for name, kind in _agents().items():
        text += f"## {name} {{ #{name} }}\n\n`{kind.__module__}.{kind.__qualname__}`\n\n"
        text += section(kind, name, link, methods=False, level=0)
    return Page(path, text)


def _reads(kind: Any) -> str:
    """Whether an agent reads the hidden state; it may depend on its arguments."""
    return {True: "yes", False: ""}.get(kind.privileged, "depends on its arguments")
