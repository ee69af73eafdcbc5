"""recgym: reinforcement learning environments for recommender systems.

``import recgym`` registers the environments and loads gymnasium and numpy only; every other name is loaded when used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recgym.registry import fitted_worlds, register_installed, register_world, registered_worlds

__version__ = "0.2.0"

_WHERE = {
    "World": "world",
    "load_world": "worlds",
    "Action": "actions",
    "Observation": "observations",
    "RecEnv": "envs",
    "RecVectorEnv": "envs",
    "EnvState": "envs",
    "Catalog": "catalog",
    "Component": "component",
    "Users": "types",
    "Feedback": "types",
    "Column": "types",
    "Sizes": "types",
    "Population": "population",
    "mix": "noise",
    "RecgymError": "errors",
    "ConfigError": "errors",
    "OptionError": "errors",
    "SlateError": "errors",
    "FitError": "errors",
}
__all__ = ["CLASSIC_IDS", "ENV_IDS", "fitted_worlds", "register_world", "registered_worlds", *_WHERE]  # noqa: PLE0604

if TYPE_CHECKING:
    from recgym.actions import Action as Action
    from recgym.catalog import Catalog as Catalog
    from recgym.component import Component as Component
    from recgym.envs import EnvState as EnvState
    from recgym.envs import RecEnv as RecEnv
    from recgym.envs import RecVectorEnv as RecVectorEnv
    from recgym.errors import ConfigError as ConfigError
    from recgym.errors import FitError as FitError
    from recgym.errors import OptionError as OptionError
    from recgym.errors import RecgymError as RecgymError
    from recgym.errors import SlateError as SlateError
    from recgym.noise import mix as mix
    from recgym.observations import Observation as Observation
    from recgym.population import Population as Population
    from recgym.types import Column as Column
    from recgym.types import Feedback as Feedback
    from recgym.types import Sizes as Sizes
    from recgym.types import Users as Users
    from recgym.world import World as World
    from recgym.worlds import load_world as load_world


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'recgym' has no attribute {name!r}")
    value = getattr(import_module(f"recgym.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])


def _register_domains() -> None:
    for name in ("Ecommerce", "News", "LiveStream"):
        module = f"recgym.domains.{name.lower()}"
        ids = {f"recgym/{name}-v0": {"slate_size": 1}, f"recgym/{name}Slate-v0": {"slate_size": 5}}
        null = name == "LiveStream"
        register_world(name.lower(), f"{module}:world", ids, env=f"{module}:{name}Env", null_action=null)


def _register_classics() -> None:
    def register(name: str, builder: str, env: str, ids: dict[str, dict[str, Any]]) -> None:
        module = f"recgym.classics.{builder.partition(':')[0]}"
        ids = {f"recgym/{id}": given for id, given in ids.items()}
        register_world(name, f"recgym.classics.{builder}", ids, env=f"{module}:{env}")

    register("interest-evolution", "recsim:interest_evolution", "InterestEvolutionEnv", {"InterestEvolution-v0": {}})
    long_term = {"LongTermSatisfaction-v0": {}, "LongTermSatisfaction-Hard-v0": {"sensitivity": 0.1}}
    register("long-term-satisfaction", "recsim:long_term_satisfaction", "LongTermSatisfactionEnv", long_term)
    register(
        "interest-exploration", "recsim:interest_exploration", "InterestExplorationEnv", {"InterestExploration-v0": {}}
    )
    tasks = ("SingleItem-Static", "SingleItem-BoredInf", "SingleItem-Uncertain", "SlateTopK-Bored", "SlateTopK-BoredInf",
             "SlateTopK-Uncertain", "SlateRerank-Static", "SlateRerank-Bored")  # fmt: skip
    sardine = {f"Sardine-{task}-v0": {"task": task, "observation": "compact"} for task in tasks}
    register("sardine", "sardine:world", "SardineEnv", sardine)
    register("recogym", "recogym:world", "RecoGymEnv", {"RecoGym-v1": {"observation": "compact"}})


def _ids() -> tuple[str, ...]:
    return tuple(id for world in registered_worlds().values() for id in world.ids)


_register_domains()
ENV_IDS = _ids()  # of the three domains
_register_classics()
CLASSIC_IDS = _ids()[len(ENV_IDS) :]  # of the literature's environments
register_installed()
