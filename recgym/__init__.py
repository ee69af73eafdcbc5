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


CLASSIC_IDS: tuple[str, ...] = ()


def _classic(name: str, entry_point: str, **options: Any) -> None:
    global CLASSIC_IDS
    register(
        f"recgym/{name}",
        entry_point=f"recgym.classics.{entry_point}",
        vector_entry_point="recgym.envs:RecVectorEnv",
        kwargs=options,
        disable_env_checker=True,
    )
    CLASSIC_IDS = (*CLASSIC_IDS, f"recgym/{name}")


_classic("InterestEvolution-v0", "recsim:InterestEvolutionEnv", world="interest-evolution")
_classic("LongTermSatisfaction-v0", "recsim:LongTermSatisfactionEnv", world="long-term-satisfaction")
_classic("LongTermSatisfaction-Hard-v0", "recsim:LongTermSatisfactionEnv", world="long-term-satisfaction", sensitivity=0.1)
_classic("InterestExploration-v0", "recsim:InterestExplorationEnv", world="interest-exploration")
for _name in ("SingleItem-Static", "SingleItem-BoredInf", "SingleItem-Uncertain", "SlateTopK-Bored", "SlateTopK-BoredInf",
              "SlateTopK-Uncertain", "SlateRerank-Static", "SlateRerank-Bored"):  # fmt: skip
    _classic(f"Sardine-{_name}-v0", "sardine:SardineEnv", world="sardine", task=_name, observation="compact")
_classic("RecoGym-v1", "recogym:RecoGymEnv", world="recogym", observation="compact")

ENV_IDS = tuple(f"recgym/{name}{slate}-v0" for name in ("Ecommerce", "News", "LiveStream") for slate in ("", "Slate"))
for _name, _size in (("", 1), ("Slate", 5)):
    for _domain in ("Ecommerce", "News", "LiveStream"):
        register(
            f"recgym/{_domain}{_name}-v0",
            entry_point=f"recgym.domains.{_domain.lower()}:{_domain}Env",
            vector_entry_point="recgym.envs:RecVectorEnv",
            kwargs={"world": _domain.lower(), "slate_size": _size},
            # Gymnasium's passive checker doubles the cost of a step and calls vector rewards wrong; our tests run it.
            disable_env_checker=True,
        )
