"""Agent classes by name, by entry point, by module and by file."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from baselines.agent import Agent
from baselines.requirements import instance
from recgym.errors import ConfigError, require, unknown

REGISTRY: dict[str, str] = {
    "random": "baselines.reference:Random",
    "popularity": "baselines.reference:Popularity",
    "myopic": "baselines.reference:MyopicOracle",
    "planner": "baselines.planner:Planner",
    "heuristic": "baselines.rules:Heuristic",
    "one-step": "baselines.rules:OneStep",
    "best-known": "baselines.latent:LatentPolicy",
    "ranked": "baselines.reference:Ranked",
    "varied": "baselines.reference:Varied",
    "linucb": "baselines.bandits:LinUCB",
    "thompson": "baselines.bandits:Thompson",
    "pctr": "baselines.bandits:LogisticPCTR",
    "q-learning": "baselines.tabular:QLearning",
    "sarsa": "baselines.tabular:Sarsa",
    "reinforce": "baselines.reinforce:Reinforce",
    "slate-ppo": "baselines.slate_ppo:SlatePPO",
    "slateq": "baselines.slateq:SlateQ",
    "full-slateq": "baselines.full_slateq:FullSlateQ",
    "dqn": "baselines.sb3:DQN",
    "qrdqn": "baselines.sb3:QRDQN",
    "ppo": "baselines.sb3:PPO",
    "maskable-ppo": "baselines.sb3:MaskablePPO",
    "recurrent-ppo": "baselines.sb3:RecurrentPPO",
    "sac": "baselines.sb3:SAC",
    "td3": "baselines.sb3:TD3",
}


def agent_class(name: str) -> type[Agent]:
    """An agent class by registry name, entry point (group "recgym.agents"), "package.module:Class" or "file.py:Class".

    Raises:
        ConfigError: no such agent; the message names the nearest.
    """
    from importlib.metadata import entry_points

    require(isinstance(name, str), "agent", "must be a name", name)
    target, plugins = REGISTRY.get(name), {}
    if target is None:  # what is installed is looked through, file by file, only for a name that is not known here
        plugins = {point.name: point.value for point in entry_points(group="recgym.agents")}
        target = plugins.get(name) or (name if ":" in name else None)
    if target is None:
        unknown("agent", name, [*REGISTRY, *plugins])
    module, _, attribute = target.rpartition(":")
    named = module.endswith(".py") or re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", module)
    require(
        named and attribute.isidentifier(), "agent", 'must be a name, "package.module:Class" or "file.py:Class"', name
    )
    try:
        found = getattr(_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"agent: cannot import {target!r}: {error}") from None
    require(
        isinstance(found, type) and issubclass(found, Agent), "agent", "must be a subclass of baselines.Agent", found
    )
    return found


def _module(name: str) -> ModuleType:
    """A module by dotted name or by the path of a .py file; a file that has changed is loaded again."""
    from importlib import import_module
    from importlib.util import module_from_spec, spec_from_file_location

    if not name.endswith(".py"):
        return import_module(name)
    require(os.path.isfile(name), "agent", "must be in a file that exists", name)
    file = Path(name).resolve()
    source = file.read_bytes()
    digest = hashlib.sha256(str(file).encode() + source).hexdigest()
    known = f"{file.stem}_{digest[:12]}"  # the same in every process, as pickle and dataclasses look modules up by name
    if known not in sys.modules:
        spec = spec_from_file_location(known, file)
        assert spec is not None
        module = sys.modules[known] = module_from_spec(spec)
        try:
            # Not by the loader, which takes bytecode of the same second and size for that of this file.
            exec(compile(source, file, "exec"), module.__dict__)
        except BaseException:
            del sys.modules[known]
            raise
    return sys.modules[known]


def make_agent(name: str, **hyperparameters: Any) -> Agent:
    """An agent by name, see `agent_class`.

    Raises:
        ConfigError: no such agent or hyper-parameter.
    """
    return instance(agent_class(name), name, hyperparameters)
