"""Bad input: the right error, with the parameter, the rule and the value, and the nearest spelling of a name."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import recgym
from recgym import Catalog, ConfigError, FitError, RecgymError, SlateError, World
from recgym.envs import RecEnv, RecVectorEnv
from recgym.errors import require, require_count, require_number, require_option, unknown
from recgym.models.choice import PositionBased
from recgym.models.dynamics import Fatigue, NetExposure, Satisfaction
from recgym.models.preference import DotProduct


def shop(**options: Any) -> gym.Env[Any, Any]:
    return gym.make("recgym/Ecommerce-v0", disable_env_checker=True, **options)


def shops(**options: Any) -> RecVectorEnv:
    env = gym.make_vec("recgym/Ecommerce-v0", num_envs=2, **options)
    assert isinstance(env, RecVectorEnv)
    return env


def reset(**arguments: Any) -> Any:
    return shops().reset(**arguments)


def reset_one(**arguments: Any) -> Any:
    return shop().unwrapped.reset(**arguments)


def step(chosen: Any, **options: Any) -> Any:
    env = shop(**options).unwrapped
    env.reset(seed=0)
    return env.step(chosen)


def steps(chosen: Any, **options: Any) -> Any:
    env = shops(**options)
    env.reset(seed=0)
    return env.step(chosen)


def after_the_end() -> None:
    env = shop(horizon=1).unwrapped
    env.reset(seed=0)
    env.step(0)
    env.step(0)


def foreign_state() -> None:
    a, b = shops(), gym.make_vec("recgym/Ecommerce-v0", num_envs=3)
    a.reset(seed=0)
    b.reset(seed=0)
    a.set_state(b.unwrapped.get_state())  # type: ignore[attr-defined]


def state_of_another_world() -> None:
    a, b = shops(), gym.make_vec("recgym/News-v0", num_envs=2)
    a.reset(seed=0)
    b.reset(seed=0)
    a.set_state(b.unwrapped.get_state())  # type: ignore[attr-defined]


def catalogue(**changes: Any) -> World:
    world = recgym.load_world("ecommerce")
    return world.replace(catalog=dataclasses.replace(world.catalog, **changes))


# what, how, and what the message must contain (as plain text)
CONFIG: list[tuple[str, Callable[[], Any], list[str]]] = [
    ("typo in an option", lambda: shop(slate_sise=5), ["slate_sise", "Did you mean 'slate_size'"]),
    ("typo in a form", lambda: shop(obervation="dict"), ["obervation", "Did you mean 'observation'"]),
    ("typo in a domain's option", lambda: shop(cold_strat=0.5), ["cold_strat", "Did you mean 'cold_start'"]),
    ("typo in the vector env", lambda: shops(autoreset_mod="SameStep"),
     ["autoreset_mod", "Did you mean 'autoreset_mode'"]),
    ("typo in render_mode's name", lambda: shop(rendermode="ansi"), ["rendermode", "Did you mean 'render_mode'"]),
    ("unknown objective", lambda: shop(reward={"clik": 1}), ["reward", "'clik'", "Did you mean 'click'"]),
    ("no objective", lambda: shop(reward={}), ["reward", "at least one", "{}"]),
    ("weight is text", lambda: shop(reward={"click": "1"}), ["reward['click']", "must be a number", "'1'"]),
    ("weight is NaN", lambda: shop(reward={"click": float("nan")}), ["reward['click']", "must be a number", "nan"]),
    ("reward is a number", lambda: shop(reward=1.0), ["reward", '"vector"', "1.0"]),
    ("reward is a typo", lambda: shop(reward="vectr"), ["reward", "'vectr'", "Did you mean 'vector'"]),
    ("reward is another part", lambda: shop(reward=DotProduct()), ["reward", "DotProduct"]),
    ("two rewards", lambda: shop(reward={"click": 1.0}, like_dislike=True), ["like_dislike", "excludes reward"]),
    ("like_dislike is a number", lambda: shop(like_dislike=1), ["like_dislike", "True or False", "1"]),
    ("expected_reward is text", lambda: shop(expected_reward="yes"), ["expected_reward", "True or False", "'yes'"]),
    ("null_action is text", lambda: shop(null_action="yes"), ["null_action", "True or False", "'yes'"]),
    ("action is a typo", lambda: shop(action="lsate"), ["action", "'lsate'", "Did you mean 'slate'"]),
    ("action is empty", lambda: shop(action=""), ["action", "''"]),
    ("action is a number", lambda: shop(action=3), ["action", "3"]),
    ("item action of a slate", lambda: shop(action="item", slate_size=5), ["action", "slate_size=1", "5"]),
    ("observation is a typo", lambda: shop(observation="flatt"), ["observation", "'flatt'", "Did you mean 'flat'"]),
    ("no candidates", lambda: shop(candidates=0), ["candidates", "[1, ", "0"]),
    ("candidates is a typo", lambda: shop(candidates="al"), ["candidates", "all", "'al'"]),
    ("candidates is a share", lambda: shop(candidates=0.5), ["candidates", "0.5"]),
    ("candidates is a flag", lambda: shop(candidates=True), ["candidates", "True"]),
    ("too many candidates", lambda: shop(candidates=7000), ["candidates", "6000", "7000"]),
    ("negative horizon", lambda: shop(horizon=-1), ["horizon", "must be an integer", "-1"]),
    ("horizon is a float", lambda: shop(horizon=1e3), ["horizon", "must be an integer", "1000.0"]),
    ("slate larger than the candidates", lambda: shop(slate_size=21), ["slate_size", "20 candidates", "21"]),
    ("slate_size is None", lambda: shop(slate_size="5"), ["slate_size", "must be an integer", "'5'"]),
    ("history", lambda: shop(history=0), ["history", "must be an integer", "0"]),
    ("cold_start", lambda: shop(cold_start=1.5), ["cold_start", "[0, 1]", "1.5"]),
    ("items", lambda: shop(items=0), ["items", "0"]),
    ("items is text", lambda: shop(items="many"), ["items", "'many'"]),
    ("topics", lambda: shop(topics=-3), ["topics", "-3"]),
    ("dimensions", lambda: shop(dimensions=0), ["dimensions", "0"]),
    ("seed of the world", lambda: shop(seed=-1), ["seed", "-1"]),
    ("correlation", lambda: shop(quality_correlation=2.0), ["quality_correlation", "2.0"]),
    ("another family", lambda: shop(choice=DotProduct()), ["choice", "must be a Choice component", "DotProduct"]),
    ("unknown kind", lambda: shop(choice={"kind": "Cascad"}), ["choice.kind", "'Cascad'", "Did you mean 'Cascade'"]),
    ("no kind", lambda: shop(choice={"attention": 0.5}), ["choice", "'kind'"]),
    ("typo in a field", lambda: shop(choice={"kind": "Cascade", "atention": 1}),
     ["atention", "Did you mean 'attention'"]),
    ("field out of range", lambda: shop(choice={"kind": "Cascade", "attention": 2}),
     ["Cascade.attention", "[0, 1]", "2"]),
    ("dynamics is no part", lambda: shop(dynamics=[3]), ["dynamics", "Dynamics", "(3,)"]),
    ("dynamics is one part", lambda: shop(dynamics=Fatigue()), ["dynamics", "sequence", "Fatigue"]),
    ("one column twice", lambda: shop(dynamics=[Fatigue(), Fatigue()]), ["Fatigue.columns", "owns", "'fatigue'"]),
    ("two owners", lambda: gym.make("recgym/News-v0", dynamics=[Satisfaction(), NetExposure()]),
     ["columns", "'satisfaction'"]),
    ("positions", lambda: shop(slate_size=3, choice=PositionBased((0.9, 0.5))),
     ["PositionBased.examination", "2", "3"]),
    ("world is a typo", lambda: shop(world="ecomerce"), ["world", "'ecomerce'", "Did you mean 'ecommerce'"]),
    ("world is no folder", lambda: shop(world="/nonexistent"), ["world", "world.json", "/nonexistent"]),
    ("world is a number", lambda: shop(world=3), ["world", "must be a World", "3"]),
    ("world is a list", lambda: shop(world=["ecommerce"]), ["world", "must be a World", "ecommerce"]),
    ("num_envs", lambda: RecVectorEnv("news", 0), ["num_envs", "must be an integer", "0"]),
    ("num_envs of the single env", lambda: RecEnv("news", num_envs=3), ["num_envs", "vector env", "3"]),
    ("autoreset mode", lambda: shops(autoreset_mode="nextstep"),
     ["autoreset_mode", "'nextstep'", "Did you mean 'NextStep'"]),
    ("threads", lambda: shops(threads=0), ["threads", "must be an integer", "0"]),
    ("render mode", lambda: RecEnv("news", render_mode="human"), ["render_mode", "'human'"]),
    ("NaN in the catalogue", lambda: catalogue(embedding=np.full((6000, 16), np.nan)), ["catalog.embedding", "finite"]),
    ("wrong topic", lambda: catalogue(topic=np.full(6000, 20)), ["catalog.topic", "[0, 20)", "20"]),
    ("wrong length", lambda: catalogue(topic=np.zeros(3, int)), ["catalog.topic", "(6000,)", "(3,)"]),
    ("attributes without names", lambda: catalogue(names=("quality",)), ["catalog.attributes", "(6000, 1)"]),
    ("no catalogue", lambda: Catalog([], [], [], (), 1), ["catalog.embedding"]),  # type: ignore[arg-type]
    ("negative seed", lambda: reset(seed=-1), ["seed", "[0, 2**64)", "-1"]),
    ("negative seed of one", lambda: reset_one(seed=-1), ["seed", "-1"]),
    ("seed is a float", lambda: reset(seed=1.5), ["seed", "integer", "1.5"]),
    ("seed is text", lambda: reset(seed="12"), ["seed", "integer"]),
    ("too few seeds", lambda: reset(seed=[1]), ["seed", "2 users", "1"]),
    ("seeds are floats", lambda: reset(seed=[1, 0.5]), ["seed", "integer", "0.5"]),
    ("options typo", lambda: reset(options={"reset_maks": None}),
     ["options", "reset_maks", "Did you mean 'reset_mask'"]),
    ("options of one", lambda: reset_one(options={"mask": 1}), ["options", "'mask'"]),
    ("mask is a list", lambda: reset(seed=0, options={"reset_mask": [True, False]}),
     ["reset_mask", "bool array of shape (2,)"]),
    ("mask of ints", lambda: reset(options={"reset_mask": np.array([1, 0])}), ["reset_mask", "bool array", "1, 0"]),
    ("mask of another shape", lambda: reset(options={"reset_mask": np.ones(3, bool)}), ["reset_mask", "(2,)"]),
    ("mask of nobody", lambda: reset(options={"reset_mask": np.zeros(2, bool)}), ["reset_mask", "one True"]),
    ("step before reset", lambda: shop().unwrapped.step(0), ["step", "reset"]),
    ("steps before reset", lambda: shops().step([0, 0]), ["step", "reset"]),
    ("step after the end", after_the_end, ["step", "the episode has ended"]),
    ("state of another size", foreign_state, ["state", "2 users", "3"]),
    ("state of another world", state_of_another_world, ["state", "world"]),
]  # fmt: skip

SLATE: list[tuple[str, Callable[[], Any], list[str]]] = [
    ("too large", lambda: step(20), ["action", "[0, 19]", "20"]),
    ("negative", lambda: step(-1), ["action", "[0, 19]", "-1"]),
    ("float", lambda: step(1.5), ["action", "integers", "1.5"]),
    ("NaN", lambda: step(float("nan")), ["action", "integers", "nan"]),
    ("bool", lambda: step(True), ["action", "integers", "True"]),
    ("None", lambda: step(None), ["action", "integers", "None"]),
    ("text", lambda: step("3"), ["action", "integers", "3"]),
    ("a list for one", lambda: step([1]), ["action", "shape ()", "(1,)"]),
    ("one for a batch", lambda: steps(1), ["action", "shape (2,)", "()"]),
    ("three for two", lambda: steps([1, 2, 3]), ["action", "shape (2,)", "(3,)"]),
    ("second of a batch", lambda: steps([0, 77]), ["action", "77", "user 1"]),
    ("short slate", lambda: step([0, 1], slate_size=3), ["action", "shape (3,)", "(2,)"]),
    ("one bad place", lambda: step([0, 1, 20], slate_size=3), ["action", "[0, 19]", "20"]),
    ("ragged slates", lambda: steps([[0, 1], [0]], slate_size=2), ["action"]),
    ("embedding too large", lambda: step(np.full(16, 1.5), action="embedding"), ["action", "[-1, 1]", "1.5"]),
    ("embedding NaN", lambda: step(np.full(16, np.nan), action="embedding"), ["action", "[-1, 1]", "nan"]),
    ("embedding too short", lambda: step(np.zeros(3), action="embedding"), ["action", "shape (16,)", "(3,)"]),
    ("null moves the range", lambda: step(21, null_action=True), ["action", "[0, 20]", "21"]),
]  # fmt: skip


@pytest.mark.parametrize(("make", "parts"), [c[1:] for c in CONFIG], ids=[c[0] for c in CONFIG])
def test_config_errors(make: Callable[[], Any], parts: list[str]) -> None:
    check(make, parts, ConfigError)


@pytest.mark.parametrize(("make", "parts"), [c[1:] for c in SLATE], ids=[c[0] for c in SLATE])
def test_slate_errors(make: Callable[[], Any], parts: list[str]) -> None:
    check(make, parts, SlateError)


def check(make: Callable[[], Any], parts: list[str], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        make()
    text = str(caught.value)
    missing = [part for part in parts if part not in text]
    assert not missing, f"{text!r} lacks {missing}"
    assert not re.search(r"must be one of \[\]", text), f"{text!r} offers nothing to choose from"
    assert len(text) < 1500, "a message must be short enough to be read"


def test_there_are_thirty_at_least() -> None:
    assert len(CONFIG) + len(SLATE) >= 30


def test_numbers_of_numpy_are_numbers() -> None:
    """A sweep over `np.arange` or `np.linspace` hands out NumPy's scalars."""
    assert shop(horizon=np.int64(7)).unwrapped.world.horizon == 7  # type: ignore[attr-defined]
    assert shop(cold_start=np.float32(0.5)).unwrapped.world.population.cold_start == 0.5  # type: ignore[attr-defined]
    assert shop(candidates=np.int64(9)).unwrapped.world.n_candidates == 9  # type: ignore[attr-defined]
    shop(reward={"click": np.float32(2.0)})


def test_one_small_tree() -> None:
    for error in (ConfigError, SlateError, FitError):
        assert issubclass(error, RecgymError)
        assert issubclass(error, ValueError)
    assert not issubclass(ConfigError, SlateError)


def test_the_helpers_word_parameter_rule_and_value() -> None:
    with pytest.raises(ConfigError, match=r"^speed: must be small, got 9$"):
        require(False, "speed", "must be small", 9)
    with pytest.raises(ConfigError, match=r"^speed: must be a number in \[0, 1\], got 'x'$"):
        require_number("speed", "x", 0, 1)
    with pytest.raises(ConfigError, match=r"^speed: must be an integer in \[0, 3\], got 4$"):
        require_count("speed", 4, 0, 3)
    with pytest.raises(
        ConfigError, match=r"^mode: got 'fats'\. Did you mean 'fast'\? It must be one of \['fast', 'slow'\]$"
    ):
        unknown("mode", "fats", ["slow", "fast"])
    with pytest.raises(ConfigError, match=r"got 'zzz'\. It must be one of \['fast', 'slow'\]$"):
        require_option("mode", "zzz", ["slow", "fast"])
    for value in (True, None, "1", float("nan"), float("inf"), 1.5):
        with pytest.raises(ConfigError):
            require_count("n", value, 0, 9)
    require_option("mode", "fast", ["fast"])


def test_only_what_is_accepted_is_offered() -> None:
    """A world has no actions, nobody sets `fusable` or what a World derives."""
    for make, refused in (
        (recgym.load_world, ("fusable", "kind", "sizes", "action", "num_envs")),
        (RecEnv, ("fusable", "kind", "sizes")),
    ):
        for name in refused:
            with pytest.raises(
                ConfigError, match=rf"^option: got an unexpected keyword argument '{name}_'\."
            ) as caught:
                make("news", **{f"{name}_": 1})
            assert f"'{name}'" not in str(caught.value)
    for name in ("kind", "sizes", "owned", "n_candidates", "fusable"):
        with pytest.raises(ConfigError, match=rf"^option: got an unexpected keyword argument '{name}'\."):
            recgym.load_world("news", **{name: 1})
    with pytest.raises(ConfigError, match="Did you mean 'action'"):
        RecEnv("news", acton="item")


def test_many_names_come_after_the_nearest_and_not_all() -> None:
    options = [f"parameter_{i}" for i in range(500)]
    with pytest.raises(ConfigError) as caught:
        unknown("option", "paramter_77", options)
    text = str(caught.value)
    assert text.startswith(
        "option: got 'paramter_77'. Did you mean 'parameter_77'? It must be one of 500 names, such as"
    )
    assert len(text) < 600


@pytest.mark.parametrize(
    "number", [0.5, Fraction(1, 2), np.float16(0.5), np.float32(0.5), np.longdouble(0.5), 1, np.int8(1), np.uint64(1)]
)
def test_numbers_become_plain(number: Any) -> None:
    plain = require_number("x", number, 0, 1)
    assert type(plain) is float
    assert plain == number
    if number == 1:
        assert type(require_count("n", number, 0, 1)) is int


@pytest.mark.parametrize(
    "value",
    [True, np.True_, None, "1", b"1", 1j, Decimal(1), math.nan, math.inf, np.float16("nan"), np.longdouble("1e4000"),
     10**400, Fraction(10**400), np.array(1), np.array(1.0), [1]],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_no_number_is_refused(value: Any) -> None:
    for rule in (require_number, require_count):
        with pytest.raises(ConfigError, match=r"^x: must be an? (number|integer) in \[0, 9\], got "):
            rule("x", value, 0, 9)


class Shy:
    """Has no repr."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10**6,
        list(range(10**5)),
        {i: i for i in range(10**5)},
        np.zeros((400, 400)),
        10**5000,
        [[Shy()] * 99] * 99,
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_are_cut_in_messages(value: Any) -> None:
    for act in (
        lambda: require(False, "x", "must be short", value),
        lambda: unknown("x", value, ["a", "b"]),
        lambda: require_count("x", value, 0, 9),
    ):
        with pytest.raises(ConfigError) as caught:
            act()
        assert len(str(caught.value)) < 500
