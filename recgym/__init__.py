"""recgym: reinforcement learning environments for recommender systems.

``import recgym`` registers the environments and loads gymnasium and numpy only; every other name is loaded when used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gymnasium.envs.registration import register

__version__ = "0.1.0"

_WHERE = {
    "World": "world",
    "load_world": "worlds",
    "fitted_worlds": "worlds",
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
    "SlateError": "errors",
    "FitError": "errors",
}
__all__ = [*_WHERE, "CLASSIC_IDS", "ENV_IDS"]  # noqa: PLE0604

if TYPE_CHECKING:
    from recgym.catalog import Catalog as Catalog
    from recgym.component import Component as Component
    from recgym.envs import EnvState as EnvState
    from recgym.envs import RecEnv as RecEnv
    from recgym.envs import RecVectorEnv as RecVectorEnv
    from recgym.errors import ConfigError as ConfigError
    from recgym.errors import FitError as FitError
    from recgym.errors import RecgymError as RecgymError
    from recgym.errors import SlateError as SlateError
    from recgym.noise import mix as mix
    from recgym.population import Population as Population
    from recgym.types import Column as Column
    from recgym.types import Feedback as Feedback
    from recgym.types import Sizes as Sizes
    from recgym.types import Users as Users
    from recgym.world import World as World
    from recgym.worlds import fitted_worlds as fitted_worlds
    from recgym.worlds import load_world as load_world


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'recgym' has no attribute {name!r}")
    value = getattr(import_module(f"recgym.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])


def _register(name: str, entry_point: str, **options: Any) -> str:
    register(
        f"recgym/{name}",
        entry_point=f"recgym.{entry_point}",
        vector_entry_point="recgym.envs:RecVectorEnv",
        kwargs=options,
        # Gymnasium's passive checker doubles the cost of a step and calls vector rewards wrong; our tests run it.
        disable_env_checker=True,
    )
    return f"recgym/{name}"


ENV_IDS = tuple(
    _register(f"{name}{slate}-v0", f"domains.{name.lower()}:{name}Env", world=name.lower(), slate_size=size)
    for name in ("Ecommerce", "News", "LiveStream")
    for slate, size in (("", 1), ("Slate", 5))
)
_LONG_TERM = "classics.recsim:LongTermSatisfactionEnv"
_SARDINE = ("SingleItem-Static", "SingleItem-BoredInf", "SingleItem-Uncertain", "SlateTopK-Bored", "SlateTopK-BoredInf",
            "SlateTopK-Uncertain", "SlateRerank-Static", "SlateRerank-Bored")  # fmt: skip
CLASSIC_IDS = (
    _register("InterestEvolution-v0", "classics.recsim:InterestEvolutionEnv", world="interest-evolution"),
    _register("LongTermSatisfaction-v0", _LONG_TERM, world="long-term-satisfaction"),
    _register("LongTermSatisfaction-Hard-v0", _LONG_TERM, world="long-term-satisfaction", sensitivity=0.1),
    _register("InterestExploration-v0", "classics.recsim:InterestExplorationEnv", world="interest-exploration"),
    *(_register(f"Sardine-{task}-v0", "classics.sardine:SardineEnv", world="sardine", task=task, observation="compact")
      for task in _SARDINE),
    _register("RecoGym-v1", "classics.recogym:RecoGymEnv", world="recogym", observation="compact"),
)  # fmt: skip
