"""Forms of actions and observations of one's own: passed in as classes, known by name, watched, fused."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import recgym
from recgym import ConfigError, SlateError
from recgym.actions import Action, ItemAction, SlateAction
from recgym.envs import RecEnv, RecVectorEnv
from recgym.kernel import kernel
from recgym.observations import Block, Blocks, FlatObservation, Observation, Part
from recgym.testing import check_env
from recgym.types import I32, Array, Users, empty


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
        with pytest.raises(ConfigError, match=r"action: must be one of \[.*'embedding', .* or a subclass of Action"):
            RecVectorEnv("news", action=given)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"action: must make a recgym.Action, got 3"):
        RecVectorEnv("news", action=lambda world, null: 3)  # type: ignore[arg-type, return-value]

    class Text(ItemAction):
        form = "text"

        def make_space(self) -> spaces.Space[Any]:
            return spaces.Text(3)

    with pytest.raises(ConfigError, match="a Discrete, MultiDiscrete, MultiBinary or Box space"):
        RecVectorEnv("news", action=Text)


class Flipped(ItemAction):
    """The last candidate first."""

    form = "flipped"

    def decode(self, actions: Array, users: Users) -> Array:
        return super().decode(self.n - 1 - actions, users)


def test_a_form_has_a_name_of_its_own() -> None:
    """A spec named the class it inherits from, and so another form."""

    class Nameless(Flipped):
        pass

    with pytest.raises(ConfigError, match="with a `form` of its own"):
        RecVectorEnv("news", action=Nameless)
    env = gym.make("recgym/News-v0", action=Flipped)
    Action.known.pop("flipped")
    with pytest.raises(ConfigError, match="action: must be the class that is known as 'flipped'"):
        env.spec.to_json()  # type: ignore[union-attr]


def test_forms_of_another_world_or_another_null_action() -> None:
    for make in (
        lambda world, null: ItemAction(recgym.load_world("news"), null),
        lambda world, null: ItemAction(world, not null),
    ):
        with pytest.raises(ConfigError, match="action: must make a form of the world and the null_action"):
            RecVectorEnv("news", action=make)
    with pytest.raises(ConfigError, match="observation: must make a form of the world"):
        RecVectorEnv("news", observation=lambda world: FlatObservation(recgym.load_world("news")))
    for make in (lambda world: ItemAction(world), partial(ItemAction, null=True)):
        with pytest.raises(ConfigError, match="action: must take 2 arguments"):
            RecVectorEnv("news", action=make)


@kernel
def _first_or_second(slate, candidates, k):
    for b in range(slate.shape[0]):
        slate[b, 0] = candidates[b, k]


class Counting(ItemAction):
    """Wrongly says that it can be compiled: what it does depends on the number of users."""

    form = "counting"
    fusable = True

    def decode(self, actions: Array, users: Users) -> Array:
        slate = empty((len(users), 1), I32)
        _first_or_second(slate, users.candidates, 0 if len(users) < 5 else 1)
        return slate


def test_a_form_that_depends_on_the_number_of_users_is_not_compiled() -> None:
    env = RecVectorEnv("news", 6, action=Counting)
    with pytest.warns(UserWarning, match="stays as it is"):
        assert not env.fuse()


class Nosy(FlatObservation):
    """Writes into what it should read."""

    form = "nosy"

    def encode(self, users: Users, out: Array) -> None:
        super().encode(users, out)
        users.interest[:] = 0


class Lazy(FlatObservation):
    """Forgets to write."""

    form = "lazy"

    def encode(self, users: Users, out: Array) -> None:
        out[:, 0] = 1.0


def test_forms_that_write_too_much_or_too_little() -> None:
    with pytest.raises(AssertionError, match=r"observations.encode must not write to the users"):
        check_env(RecEnv("news", observation=Nosy))
    observation, _ = RecEnv("news", observation=Lazy).reset(seed=0)
    assert np.isnan(observation[1:]).all()  # not what the memory held before
    for found, fragment in (({}, "must have blocks"), (None, "must have blocks"), ({"a": ((), [Part("x", -1, 0, 1)])}, "width >= 0"),
                             ({"a": ((), [Part("x", 1, 2, 1)])}, "low <= high")):  # fmt: skip

        class Odd(FlatObservation):
            form = "odd"
            given = found

            def blocks(self) -> Any:
                return self.given

        with pytest.raises(ConfigError, match=fragment):
            RecVectorEnv("news", observation=Odd)


class Nested(FlatObservation):
    """A tuple of a dict and an array."""

    form = "nested"

    def make_space(self) -> spaces.Space[Any]:
        return spaces.Tuple((spaces.Dict({"user": self.boxes()["user"]}), super().make_space()))

    def view(self, flat: Array) -> Any:
        return ({"user": flat[..., self.layout["user"].slice]}, flat)


def test_observations_in_tuples_and_dicts() -> None:
    env = RecEnv("news", observation=Nested)
    assert env.observation_space.contains(env.reset(seed=0)[0])
    assert env.observation_space.contains(env.step(0)[0])


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
        (spaces.Discrete(2, start=2**53 - 2), 2**53 - 1, 2**53),
    ):
        Signed.of = space
        env = RecEnv("news", action=Signed)
        env.reset(seed=0)
        env.step(good)
        with pytest.raises(SlateError, match="action: must lie in"):
            env.step(bad)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 2**64 - 1, (2,), np.uint64),
        spaces.Box(0, 1, (2,), np.bool_),
        spaces.Box(-1e300, 1e300, (2,), np.float64),
        spaces.Discrete(2, start=2**60),
        spaces.Tuple((spaces.Discrete(2),)),
        3,
    ],
    ids=str,
)
def test_spaces_whose_actions_could_not_be_told(space: Any) -> None:
    class Vast(ItemAction):
        form = "vast"

        def make_space(self) -> spaces.Space[Any]:
            return space

    with pytest.raises(ConfigError, match=r"^action: must"):
        RecVectorEnv("news", action=Vast)


def test_actions_spread_over_their_space() -> None:
    for space in (
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([2, 9]),
        spaces.Box(-3, np.inf, (2,)),
        spaces.Box(2, 4, (3,), np.int8),
    ):
        Spread = type("Spread", (ItemAction,), {"form": "spread", "make_space": lambda self, space=space: space})
        actions = Spread(recgym.load_world("news"))
        drawn = actions.spread(np.random.default_rng(0).random((500, *actions.shape)))
        assert all(space.contains(np.asarray(one, space.dtype)[()]) for one in drawn)
        assert len(np.unique(drawn)) > 2


def test_an_own_form_in_a_spec() -> None:
    env = gym.make("recgym/News-v0", action=First, slate_size=2)
    assert '"action": "first"' in env.spec.to_json()  # type: ignore[union-attr]
