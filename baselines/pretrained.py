"""Agents that come with the package, as they were trained for rows of the published leaderboards.

    pretrained/index.json                 what is there, and what each has earned, see `Pretrained`
    pretrained/<environment>.<name>/      the agent, as `Agent.save` wrote it

``python -m benchmarks pretrain core-v1`` makes them: each is trained again as its row says, and must earn that return again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from baselines.agent import Agent
from baselines.policies import file_name
from baselines.registry import agent_class
from recgym.errors import ConfigError, require, require_option
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
        return f"{file_name(self.id)}.{self.name.replace(' ', '-')}"


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
    entries = pretrained()
    require_option("id", id, sorted({entry.id for entry in entries}))
    named = {entry.name: entry for entry in entries if entry.id == id}
    require_option("pretrained agent", name, named)
    entry = named[name]
    folder = FOLDER / entry.folder
    digest = _digest(folder)
    require(digest == entry.digest, "pretrained agent", f"must be the published one, in {folder}", digest)
    return agent_class(entry.agent).load(folder)


def keep(agent: Agent, entry: Pretrained, folder: Path = FOLDER) -> Pretrained:
    """Put an agent there, in the place of another of its name and environment; the index is written last.

    Args:
        agent: as its training has left it. entry: what is known of it; its digest does not count.

    Returns:
        The entry with the digest of what was kept.
    """
    agent.save(folder / entry.folder)
    kept = replace(entry, digest=_digest(folder / entry.folder))
    others = [other for other in pretrained(folder) if other.folder != kept.folder]
    entries = sorted([*others, kept], key=lambda entry: (entry.id, entry.name))
    lines = ",\n".join(json.dumps(asdict(entry)) for entry in entries)
    write_atomically(folder / INDEX, f"[\n{lines}\n]\n".encode())
    return kept


def _digest(folder: Path) -> str:
    return hashlib.sha256(read_bytes(folder / "agent.json", "pretrained agent")).hexdigest()
