"""Agents that come with the package, as they were trained for rows of the published leaderboards.

    pretrained/index.json                 what is there, and what each has earned, see `Pretrained`
    pretrained/<environment>.<name>/      the agent, as `Agent.save` wrote it

``python -m benchmarks pretrain core-v1`` makes them: each is trained again as its row says, and must earn that return again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from baselines.agent import Agent
from baselines.registry import agent_class
from recgym.errors import ConfigError, require, unknown
from recgym.files import read_bytes, read_json, write_atomically

FOLDER = Path(__file__).parent / "pretrained"
INDEX = "index.json"


@dataclass(frozen=True)
class Pretrained:
    """What is known of an agent that comes with the package.

    Args:
        name: of the row, such as "slate-ppo myopic". id: of the environment that it was trained in, on sessions of the weeks
            0 to 7. agent: name of its class in the registry. suite, key: the published row, and the job behind it.
        seed, steps: of the training. returns, se: mean return of the row's evaluation users, in the weeks 8 to 11, and its
            standard error. digest: SHA-256 of its agent.json, which has the digests of its other files.
    """

    name: str
    id: str
    agent: str
    suite: str
    key: str
    seed: int
    steps: int
    returns: float
    se: float
    digest: str

    @property
    def folder(self) -> str:
        """Name of the folder."""
        return f"{self.id.removeprefix('recgym/').replace('/', '-')}.{self.name.replace(' ', '-')}"


def pretrained(folder: Path = FOLDER) -> list[Pretrained]:
    """The agents that are there, by environment and name.

    Raises:
        ConfigError: the index is not of the form.
    """
    path = folder / INDEX
    data = read_json(path, "pretrained index") if path.is_file() else []
    try:
        return [Pretrained(**entry) for entry in data]
    except TypeError as error:
        raise ConfigError(f"pretrained index: must be a list of agents, in {path}: {error}") from None


def load_pretrained(name: str, id: str) -> Agent:
    """An agent that comes with the package: it acts once it was started in an env, and `evaluate` scores it.

    Args:
        name: of a row of the leaderboards, such as "slate-ppo". id: of the environment, such as "recgym/News-v0".

    Raises:
        ConfigError: there is none of that name for that environment, the message says what there is; or a file is not the
            one that was published.
    """
    found = {(entry.id, entry.name): entry for entry in pretrained()}
    ids = {id for id, _ in found}
    if id not in ids:
        unknown("id", id, ids)
    names = [name for at, name in found if at == id]
    if name not in names:
        unknown("pretrained agent", name, names)
    entry = found[id, name]
    folder = FOLDER / entry.folder
    digest = hashlib.sha256(read_bytes(folder / "agent.json", "pretrained agent")).hexdigest()
    require(digest == entry.digest, "pretrained agent", f"must be the published one, in {folder}", digest)
    return agent_class(entry.agent).load(folder)


def keep(agent: Agent, entry: dict[str, Any], folder: Path = FOLDER) -> Pretrained:
    """Put an agent there, in the place of another of its name and environment; the index is written last.

    Args:
        agent: as its training has left it. entry: what `Pretrained` says of it, but the digest.
    """
    kept = Pretrained(**entry, digest="")
    agent.save(folder / kept.folder)
    digest = hashlib.sha256((folder / kept.folder / "agent.json").read_bytes()).hexdigest()
    kept = Pretrained(**entry, digest=digest)
    others = [other for other in pretrained(folder) if other.folder != kept.folder]
    write_index([*others, kept], folder)
    return kept


def write_index(entries: Sequence[Pretrained], folder: Path = FOLDER) -> None:
    """Write the index, a line for each agent."""
    lines = [json.dumps(asdict(entry)) for entry in sorted(entries, key=lambda entry: (entry.id, entry.name))]
    write_atomically(folder / INDEX, ("[\n" + ",\n".join(lines) + "\n]\n").encode())
