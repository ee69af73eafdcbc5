"""Worlds of one's own get a name and ids, and nobody gets a name that is taken."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.envs.registration import EnvSpec

import recgym
from recgym import ConfigError, World, registry
from recgym.domains import ecommerce, news
from recgym.models.choice import Cascade


def small(*, items: int = 30, mood: float = 0.5) -> World:
    """A shop, small enough."""
    return ecommerce.world(items=items, topics=3, dimensions=4, cold_start=mood)


def test_a_registered_world_is_one_of_recgyms() -> None:
    ids = recgym.ENV_IDS
    recgym.register_world("corner-shop", small)
    world = recgym.registered_worlds()["corner-shop"]
    assert world.origin == f"{__name__}:small"
    assert {id: dict(given) for id, given in world.ids.items()} == {"corner-shop/CornerShop-v0": {}}
    env = gym.make("corner-shop/CornerShop-v0", items=40, slate_size=2, horizon=7)
    assert len(env.unwrapped.world.catalog) == 40  # type: ignore[attr-defined]
    assert env.unwrapped.world.horizon == 7  # type: ignore[attr-defined]  # a part, which `small` does not take
    many = gym.make_vec("recgym/Ecommerce-v0", num_envs=2, world="corner-shop", choice={"kind": "Cascade"})
    assert isinstance(many.world.choice, Cascade)  # type: ignore[attr-defined]
    assert len(recgym.load_world("corner-shop").catalog) == 30
    assert ids == recgym.ENV_IDS  # those of the three domains, whoever registers what
    with pytest.raises(ConfigError, match=r"option: got an unexpected keyword argument 'itens'\. Did you mean 'items'"):
        recgym.load_world("corner-shop", itens=3)
    with pytest.raises(ConfigError, match=r"world: got 'corner-shap'\. Did you mean 'corner-shop'"):
        recgym.load_world("corner-shap")


def test_ids_carry_arguments_and_a_class_documents_them() -> None:
    ids = {"mine/Page-v3": {"slate_size": 4, "items": 50}, "mine/Feed-v0": {}}
    recgym.register_world("page", small, ids, null_action=True, env=news.NewsEnv)
    env = gym.make("mine/Page-v3")
    assert isinstance(env.unwrapped, news.NewsEnv)
    assert env.action_space == gym.spaces.MultiDiscrete([21] * 4)  # and nothing
    assert env.unwrapped.world.sizes.items == 50
    assert gym.make("mine/Feed-v0", null_action=False).action_space == gym.spaces.Discrete(20)


def test_a_name_is_given_once() -> None:
    with pytest.raises(
        ConfigError, match=r"name: must be another, as 'news' is the world of recgym.domains.news:world, got '.*:small'"
    ):
        recgym.register_world("news", small)
    with pytest.raises(ConfigError, match="fitted world"):
        recgym.register_world("open-bandit", small)
    recgym.register_world("mine", small, {"mine/A-v0": {}})
    recgym.register_world("mine", small, {"mine/A-v0": {"items": 20}, "mine/B-v0": {}})  # a module that was reloaded
    assert gym.make("mine/A-v0").unwrapped.world.sizes.items == 20  # type: ignore[attr-defined]
    with pytest.raises(
        ConfigError, match=r"ids: 'mine/A-v0' stands for mine already, and cannot for, got 'elsewhere:world'"
    ):
        recgym.register_world("other", "elsewhere:world", {"mine/A-v0": {}})
    with pytest.raises(ConfigError, match=r"'recgym/News-v0' stands for news already"):
        recgym.register_world("other", "elsewhere:world", {"recgym/News-v0": {}})
    with pytest.raises(ConfigError, match=r"'CartPole-v1' stands for gymnasium.*already"):
        recgym.register_world("other", "elsewhere:world", {"CartPole-v1": {}})
    assert "other" not in recgym.registered_worlds()


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (("", small), "name: must be a word"),
        (("a/b", small), "name: must be a word"),
        ((3, small), "name: must be a word"),
        (("mine" * 50, small), "name: must be a word of at most 100"),
        (("mine", 3), "builder: must be a function"),
        (("mine", "..:.."), "builder: must be a function"),
        (("mine", ".a:b"), "builder: must be a function"),
        (("mine", "no place"), "builder: must be a function"),
        (("mine", small, ["mine/A-v0"]), "ids: must be Gymnasium ids"),
        (("mine", small, {"mine/A-v0": 3}), "ids: must be Gymnasium ids"),
        (("mine", small, {"not an id!": {}}), "ids: 'not an id!' is none that Gymnasium takes"),
        (("mine", small, {"mine/A-v0": {}, "mine B-v0": {}}), "ids: 'mine B-v0' is none that Gymnasium takes"),
        (("mine", small, {"mine/A": {}}), 'ids: must be "namespace/Name-v0", with a version'),
        (("mine", small, {"mine/A-v01": {}}), 'ids: must be "namespace/Name-v0", with a version'),
        (("mine", small, {"module:mine/A-v0": {}}), "ids: "),
        (("mine", small, {"mine/A-v0": {3: 4}}), r"ids\['mine/A-v0'\]: must be arguments by name"),
        (("mine", small, {"mine/A-v0": {"world": "news"}}), "the world is not one of them"),
    ],
)
def test_bad_registrations(arguments: Any, fragment: str) -> None:
    with pytest.raises(ConfigError, match=fragment):
        recgym.register_world(*arguments)
    assert "mine" not in recgym.registered_worlds()
    assert "mine/A-v0" not in gym.registry


@pytest.mark.parametrize("env", [5, b"x", int, "a", "a b:c"])
def test_bad_classes_of_environments(env: Any) -> None:
    with pytest.raises(ConfigError, match=r"env: must be a subclass of recgym\.RecEnv"):
        recgym.register_world("mine", small, env=env)


def test_builders_that_only_share_a_name_are_two() -> None:
    """Partials and lambdas of one module were taken for one function."""
    for one, other in (
        (partial(small, items=30), partial(small, items=40)),
        (lambda: small(items=30), lambda: small(items=40)),
    ):
        recgym.register_world("mine", one)
        recgym.register_world("mine", one)
        with pytest.raises(ConfigError, match="name: must be another, as 'mine' is the world of"):
            recgym.register_world("mine", other)
        registry._WORLDS.clear()
        gym.registry.pop("mine/Mine-v0")
    recgym.register_world("mine", partial(partial(small, items=30), mood=0.1))
    assert recgym.registered_worlds()["mine"].origin == f"{__name__}:small"
    assert recgym.registered_worlds()["mine"].module == __name__


def test_ids_of_an_older_version_are_gone() -> None:
    recgym.register_world("mine", small, {"mine/A-v0": {}, "mine/B-v0": {}})
    recgym.register_world("mine", small, {"mine/B-v0": {"slate_size": 2}})
    assert "mine/A-v0" not in gym.registry
    recgym.register_world("other", small, {"mine/A-v0": {}})
    with pytest.raises(ConfigError, match="ids: must be those of recgym's 'news', which do not change"):
        recgym.register_world("news", "recgym.domains.news:world", {"recgym/News-v0": {"slate_size": 9}})
    assert gym.make("recgym/News-v0").action_space == gym.spaces.Discrete(20)


class Shops:
    """Builders in a class."""

    @staticmethod
    def small(**parts: Any) -> World:
        """A small shop."""
        return ecommerce.world(items=30, topics=3, dimensions=4, **parts)


def test_a_builder_in_a_class() -> None:
    recgym.register_world("mine", f"{__name__}:Shops.small")
    assert recgym.load_world("mine", horizon=3).horizon == 3


def positional(items: int, /) -> World:
    return small(items=items)


@pytest.mark.parametrize(
    ("builder", "fragment"),
    [
        (lambda **parts: small(), "horizon: .* must pass it on to the World that it returns"),
        (positional, "must be a function whose arguments have names and defaults"),
        (lambda items: small(items=items), "must be a function whose arguments have names and defaults"),
        (dict, "must be a function whose arguments have names and defaults"),
        (lambda action=3: small(), r"must not have arguments that environments have, too, got \['action'\]"),
    ],
)
def test_builders_that_cannot_be_used(builder: Any, fragment: str) -> None:
    recgym.register_world("mine", builder)
    with pytest.raises(ConfigError, match=fragment):
        gym.make("mine/Mine-v0", horizon=7)


def test_names_that_no_file_can_have() -> None:
    for name in ("a" * 300, "a\0b"):
        with pytest.raises(ConfigError, match="world: got"):
            recgym.load_world(name)


def test_a_builder_that_builds_no_world() -> None:
    recgym.register_world("nothing", lambda: 3)
    with pytest.raises(ConfigError, match="must return a World, got 3"):
        recgym.load_world("nothing")
    for name, where in (("lost", "no_such_module:world"), ("empty", "recgym.worlds:no_such_function")):
        recgym.register_world(name, where)
        with pytest.raises(ConfigError, match=f"world: '{name}' cannot be loaded from {where}"):
            recgym.load_world(name)


def test_worlds_of_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("corner", f"{__name__}:small", registry.GROUP),
        EntryPoint("news", f"{__name__}:small", registry.GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "recgym.worlds" else [])
    with pytest.warns(UserWarning, match=r"the world 'news' is not registered: .*recgym.domains.news:world"):
        registry.register_installed()
    assert gym.make("corner/Corner-v0").unwrapped.world.sizes.items == 30  # type: ignore[attr-defined]


def test_an_installed_package_is_found(tmp_path: Path) -> None:
    """A distribution on the path, as pip leaves one; its module is not imported before its world is made."""
    (tmp_path / "corner.py").write_text(
        "import recgym\ndef world(**parts):\n    return recgym.load_world('news', **parts)\n"
    )
    info = tmp_path / "corner-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: corner\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[recgym.worlds]\ncorner = corner:world\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import gymnasium, recgym; assert 'corner' not in sys.modules; "
        "print(gymnasium.make('corner/Corner-v0', slate_size=3).action_space)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout == "MultiDiscrete([20 20 20])\n", run.stderr


def test_specs_are_written_as_json(tmp_path: Path) -> None:
    env = gym.make("recgym/NewsSlate-v0", choice=Cascade(attention=0.7), world="ecommerce", observation="latent")
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))  # type: ignore[union-attr]
    assert again.unwrapped.world.choice.attention == 0.7  # type: ignore[attr-defined]
    assert again.observation_space == env.observation_space
    env.unwrapped.world.save(tmp_path)  # type: ignore[attr-defined]
    loaded = gym.make("recgym/News-v0", world=tmp_path)
    kwargs = json.loads(loaded.spec.to_json())["kwargs"]  # type: ignore[union-attr]
    assert kwargs["world"] == str(tmp_path)
    many = gym.make_vec("recgym/News-v0", num_envs=2, autoreset_mode=gym.vector.AutoresetMode.SAME_STEP)
    assert json.loads(many.spec.to_json())["kwargs"]["autoreset_mode"] == "SameStep"  # type: ignore[union-attr]
    for options, fragment in (
        ({"world": recgym.load_world("news")}, "world: a World cannot be written as JSON; .*World.save"),
        ({"reward": lambda feedback, catalog, users: feedback.dt}, "reward: must be a name or a part"),
    ):
        with pytest.raises(ConfigError, match=fragment):
            gym.make("recgym/News-v0", **options).spec.to_json()  # type: ignore[union-attr, arg-type]
