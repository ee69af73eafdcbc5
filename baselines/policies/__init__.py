"""The policies that come with the package: for each environment and kind one small file, of weights and of their origin.

    <environment>.heuristic.json     weights of `baselines.rules.Heuristic`
    <environment>.one-step.json      weights of `baselines.rules.OneStep`
    <environment>.best-known.npz     arrays of `baselines.latent.LatentPolicy`

``python -m benchmarks audit --retrain`` makes them. Each says in its "provenance" how: the command, seeds, steps, the version
and the curve of returns. Their users are apart from those of all suites, and of tuning: see `POLICY_SEED`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recgym.envs import RecVectorEnv
from recgym.errors import ConfigError, require, require_option
from recgym.files import parse_arrays, parse_json, read_bytes

FOLDER = Path(__file__).parent
KINDS = {"heuristic": "json", "one-step": "json", "best-known": "npz"}
POLICY_SEED = 4 * 10**9  # policies are searched and trained on users from here on, which suites and tuning do not reach
ORIGIN = "provenance"


def policy_file(id: str, kind: str, folder: Path = FOLDER) -> Path:
    """Where the policy of an environment lies, whether or not it is there."""
    require_option("kind of policy", kind, KINDS)
    return folder / f"{file_name(id)}.{kind}.{KINDS[kind]}"


def file_name(id: str) -> str:
    """An environment's id as the beginning of names of files and folders."""
    return id.removeprefix("recgym/").replace("/", "-")


def environments(kind: str) -> list[str]:
    """Names of the environments, without "recgym/", that a policy of this kind is there for."""
    return sorted(path.name.partition(".")[0] for path in FOLDER.glob(f"*.{kind}.{KINDS[kind]}"))


def digest_of(content: bytes) -> str:
    """The first 16 hex digits of the SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def policy_digests(ids: tuple[str, ...] | list[str], kind: str) -> dict[str, str]:
    """Id -> digest of its policy: the hyper-parameter `digests` of the agents that read policies.

    Raises:
        ConfigError: there is none of an id.
    """
    return {id: digest_of(read_bytes(policy_file(id, kind), f"{kind} policy")) for id in ids}


def read_policy(env: RecVectorEnv, kind: str, digests: Mapping[str, str]) -> tuple[bytes, Path]:
    """The policy of the environment that `env` was made as, and its file.

    Args:
        env: with a `spec`, whose id counts. kind: see `KINDS`.
        digests: id -> digest that its file must have (`digest_of`); empty: any.

    Raises:
        ConfigError: there is no policy for the environment, or another one than `digests` says.
    """
    id = env.spec.id if env.spec else "an environment without an id"
    file = policy_file(id, kind)
    if not file.is_file():
        raise ConfigError(f"{kind} policy: must be of an environment among {environments(kind)}, got {id!r}")
    content = read_bytes(file, f"{kind} policy")
    if digests:
        require(id in digests, f"{kind} digests", "must have the environment", id)
        found = digest_of(content)
        require(digests[id] == found, f"{kind} digests", f"must be {found!r} for {id}, as its file is", digests[id])
    return content, file


def provenance(id: str, kind: str) -> dict[str, Any]:
    """Where the policy of an environment comes from: command, date, version, seeds, steps and the curve of its returns.

    Raises:
        ConfigError: there is none, or its file is torn.
    """
    file = policy_file(id, kind)
    content = read_bytes(file, f"{kind} policy")
    if KINDS[kind] == "json":
        return parse_json(content, f"{kind} policy", file)[ORIGIN]
    return parse_json(parse_arrays(content, f"{kind} policy", file)[ORIGIN].tobytes(), f"{kind} policy", file)


def as_array(origin: dict[str, Any]) -> np.ndarray:
    """A provenance as the array of bytes that an .npz file holds."""
    return np.frombuffer(json.dumps(origin).encode(), np.uint8)


def slope(curve: Sequence[dict[str, float]]) -> float:
    """By which share of its last value a learning curve rose over its last fifth of steps; near 0 it is flat."""
    end = curve[-1]["steps"]
    late = [point for point in curve if point["steps"] >= 0.8 * end]
    return (late[-1]["return"] - late[0]["return"]) / abs(late[-1]["return"])
