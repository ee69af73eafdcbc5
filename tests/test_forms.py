"""Forms of actions and observations of one's own: passed in as classes, known by name, watched, fused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import recgym
from recgym import ConfigError, SlateError
from recgym.actions import Action, ItemAction, SlateAction
from recgym.envs import RecEnv, RecVectorEnv
from recgym.observations import Block, Blocks, FlatObservation, Observation, Part
from recgym.testing import check_env
from recgym.types import Array, Users


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What a test defines is unknown after it."""
    before = dict(Action.known), dict(Observation.known)
    yield
    for family, known in zip((Action, Observation), before, strict=True):
        family.known.clear()
        family.known.update(known)


class First(Action):
    """Show so many of the first candidates."""

    form = "first"

    def make_space(self) -> spaces.Space[Any]:
        return spaces.Discrete(self.world.slate_size + 1)

    def decode(self, actions: Array, users: Users) -> Array:
        S = self.world.slate_size
        return np.where(np.arange(S) < actions[:, None], users.candidates[:, :S], -1).astype(np.int32)


class Dated(FlatObservation):
    """With the weekday."""

    form = "dated"

    def blocks(self) -> Blocks:
        return {**super().blocks(), "weekday": ((), [Part("day", 7, 0, 1)])}

    def encode(self, users: Users, out: Array) -> None:
        super().encode(users, out)
        day = (users.clock // 1440 % 7).astype(int)
        out[:, self.layout["weekday"].slice] = np.eye(7)[day]


def test_forms_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Action.known, "first", First)
    env = RecVectorEnv("news", 3, slate_size=4, action=First, observation=Dated)
    assert env.single_action_space == spaces.Discrete(5)
    assert not env.fuse()  # NumPy alone, and it does not claim otherwise
    observation, _ = env.reset(seed=0)
    candidates = env.get_state().users.candidates
    _, _, _, _, info = env.step([0, 2, 4])
    shown = [[-1] * 4, [*candidates[1, :2], -1, -1], [*candidates[2, :4]]]
    assert info["slate"].tolist() == shown
    assert isinstance(env.observation_layout["weekday"], Block)
    assert (observation[:, env.observation_layout["weekday"].slice].sum(axis=1) == 1).all()
    assert env.single_observation_space.shape == (env.observations.width,)
    with pytest.raises(SlateError, match=r"must lie in \[0, 4\], got 5 for user 2"):
        env.step([0, 0, 5])
    check_env(RecEnv("news", slate_size=4, action=First, observation=Dated))
    by_name = RecVectorEnv("news", 3, slate_size=4, action="first")
    assert type(by_name.actions) is First


def test_a_form_is_made_with_arguments_of_its_own() -> None:
    class Capped(SlateAction):
        form = "capped"

        def __init__(self, world: recgym.World, null: bool, most: int) -> None:
            self.most = most
            super().__init__(world, null)

        def make_space(self) -> spaces.Space[Any]:
            return spaces.MultiDiscrete([self.most] * self.world.slate_size)

    env = RecVectorEnv("news", 2, slate_size=3, action=lambda world, null: Capped(world, null, 7))
    assert env.single_action_space == spaces.MultiDiscrete([7] * 3)
    other = RecVectorEnv(num_envs=5, **env.options)
    assert other.actions.most == 7  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("slate", "fragment"),
    [
        (
            lambda users: users.candidates[:, [0, 0, 1]],
            r"'wrong'.decode must give candidates of the user, each once, or -1",
        ),
        (lambda users: np.full((2, 3), 10**6, np.int32), "must give candidates of the user"),
        (lambda users: np.full((2, 3), -7, np.int32), "must give candidates of the user"),
        (lambda users: users.candidates[:, :2], r"must give int32 of shape \(2, 3\), got int32 \(2, 2\)"),
        (
            lambda users: users.candidates[:, :3].astype(np.int64),
            r"must give int32 of shape \(2, 3\), got int64 \(2, 3\)",
        ),
        (lambda users: None, r"must give int32 of shape \(2, 3\), got NoneType"),
    ],
)
def test_slates_that_must_not_be_shown(slate: Any, fragment: str) -> None:
    class Wrong(ItemAction):
        form = "wrong"

        def make_space(self) -> spaces.Space[Any]:
            return spaces.Discrete(2)

        def decode(self, actions: Array, users: Users) -> Array:
            return slate(users)

    env = RecVectorEnv("news", 2, slate_size=3, action=Wrong)
    env.reset(seed=0)
    before = env.get_state().users
    with pytest.raises(ConfigError, match=fragment):
        env.step([0, 1])
    assert env.get_state().users is before


def test_what_is_no_form() -> None:
    with pytest.raises(ConfigError, match=r"action: got 'slat'\. Did you mean 'slate'"):
        RecVectorEnv("news", action="slat")
    for given in (3, Observation, Action, FlatObservation, int):
        with pytest.raises(ConfigError, match=r"action: must be one of \['embedding', .* or a subclass of Action"):
            RecVectorEnv("news", action=given)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"action: must make a recgym.Action, got 3"):
        RecVectorEnv("news", action=lambda world, null: 3)  # type: ignore[arg-type, return-value]

    class Text(ItemAction):
        form = "text"

        def make_space(self) -> spaces.Space[Any]:
            return spaces.Text(3)

    with pytest.raises(ConfigError, match="a Discrete, MultiDiscrete, MultiBinary or Box space"):
        RecVectorEnv("news", action=Text)


def test_a_name_is_that_of_one_form() -> None:
    with pytest.raises(
        ConfigError, match=r"must be another name, as recgym.actions.SlateAction has this one, got 'slate'"
    ):

        class Slate(SlateAction):
            form = "slate"


def test_every_space_of_numbers_is_checked() -> None:
    class Signed(ItemAction):
        form = "signed"
        of: Any = spaces.Discrete(3, start=-1)

        def make_space(self) -> spaces.Space[Any]:
            return self.of

        def decode(self, actions: Array, users: Users) -> Array:
            return users.candidates[:, :1].copy()

    for space, good, bad in (
        (spaces.Discrete(3, start=-1), -1, -2),
        (spaces.MultiDiscrete([2, 3]), [1, 2], [2, 0]),
        (spaces.MultiBinary(2), [0, 1], [0, 2]),
        (spaces.Box(-3, 9, (2,), np.int32), [-3, 9], [-4, 0]),
        (spaces.Box(0, np.inf, (2,)), [1e30, 0.5], [1.0, np.nan]),
        (spaces.Box(-1, 1, (2, 2), np.float64), [[0, 1], [-1, 1]], [[0, 1], [-1, 1.5]]),
    ):
        Signed.of = space
        env = RecEnv("news", action=Signed)
        env.reset(seed=0)
        env.step(good)
        with pytest.raises(SlateError, match="action: must lie in"):
            env.step(bad)


def test_an_own_form_in_a_spec() -> None:
    env = gym.make("recgym/News-v0", action=First, slate_size=2)
    assert '"action": "first"' in env.spec.to_json()  # type: ignore[union-attr]
