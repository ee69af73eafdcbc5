"""Rewards of one's own: any function of the step, in every kind of environment, beside the compiled step."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import recgym
from recgym import ConfigError, SlateError
from recgym.envs import RecEnv, RecVectorEnv
from recgym.models.departure import Never
from recgym.models.preference import DotProduct
from recgym.models.response import Clicks
from recgym.models.reward import LikeDislike, Reward, Weighted
from recgym.testing import check_component, check_env


@dataclass(frozen=True, eq=False)
class Assorted(Reward):
    """Clicks, and something for each topic shown."""

    weight: float = 0.25

    def __call__(self, feedback: Any, catalog: Any, users: Any) -> Any:
        topic = np.where(feedback.slate >= 0, catalog.topic[feedback.slate], -1)
        topics = [len(set(row) - {-1}) for row in topic.tolist()]
        return feedback.click.sum(axis=1) + self.weight * np.array(topics)


@dataclass(frozen=True, eq=False)
class Squared(Weighted):
    """Its own call goes before the sum that it inherits."""

    def __call__(self, feedback: Any, catalog: Any, users: Any) -> Any:
        return sum(w * feedback.objectives[:, 0] for w in self.objectives.values()) ** 2


@dataclass(frozen=True, eq=False)
class Lazy(Reward):
    """Neither weights nor a call."""


@dataclass(frozen=True, eq=False)
class Competitive(Reward):
    """Looks at the other users."""

    def __call__(self, feedback: Any, catalog: Any, users: Any) -> Any:
        chance = feedback.probability.sum(axis=1)
        return chance - chance.max()


def novel(feedback: Any, catalog: Any, users: Any) -> Any:
    """How many of the items shown the user has not clicked lately."""
    return ((feedback.slate[:, :, None] != users.history[:, None, :]).all(axis=2) & (feedback.slate >= 0)).sum(axis=1)


def vector(num_envs: int = 6, env_id: str = "recgym/NewsSlate-v0", **options: Any) -> RecVectorEnv:
    env = gym.make_vec(env_id, num_envs=num_envs, **options)
    assert isinstance(env, RecVectorEnv)
    return env


def single(env_id: str = "recgym/NewsSlate-v0", **options: Any) -> RecEnv:
    env = gym.make(env_id, disable_env_checker=True, **options).unwrapped
    assert isinstance(env, RecEnv)
    return env


@pytest.mark.parametrize(
    "reward", [Assorted(), novel, {"kind": "Assorted", "weight": 2.0}], ids=["class", "function", "JSON"]
)
def test_the_contract_holds(reward: Any) -> None:
    check_env("recgym/NewsSlate-v0", steps=40, reward=reward)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@pytest.mark.parametrize("fused", [False, True])
def test_the_reward_is_what_it_returns(mode: str, fused: bool) -> None:
    """With episode ends, where a reset pays nothing; the rest is what any other reward gives."""
    env, plain = (vector(autoreset_mode=mode, horizon=4, reward=reward) for reward in (Assorted(), {"click": 1.0}))
    env.reset(seed=0)
    plain.reset(seed=0)
    if fused:
        assert env.fuse()
    env.action_space.seed(0)
    done, ends = np.zeros(6, bool), 0
    for _ in range(12):
        action = env.action_space.sample()
        _, reward, terminated, truncated, info = env.step(action)
        _, clicks, *rest, _ = plain.step(action)
        idle = done & (mode != "SameStep")
        topics = [len(set(env.world.catalog.topic[row[row >= 0]])) for row in info["slate"]]
        assert reward == pytest.approx(np.where(idle, 0, clicks + 0.25 * np.array(topics)))
        assert reward.dtype == np.float64
        assert [*map(list, rest)] == [list(terminated), list(truncated)]
        done = terminated | truncated
        ends += done.sum()
    assert ends


@pytest.mark.parametrize("reward", [Assorted(), novel])
def test_single_is_a_row_of_a_batch_plain_and_fused(reward: Any) -> None:
    rows = []
    for env, fuse in ((vector(1, reward=reward), False), (vector(1, reward=reward), True)):
        env.reset(seed=3)
        assert not fuse or env.fuse()
        rows.append([float(env.step([[0, 1, 2, 3, t]])[1][0]) for t in range(4, 12)])
    for fuse in (False, True):
        one = single(reward=reward)
        one.reset(seed=3)
        assert not fuse or one.fuse()
        rewards = [one.step([0, 1, 2, 3, t])[1] for t in range(4, 12)]
        assert type(rewards[0]) is float
        rows.append(rewards)
    assert rows[0] == rows[1] == rows[2] == rows[3]


def test_it_sees_the_users_as_they_saw_the_slate() -> None:
    seen = []
    env = vector(reward=lambda feedback, catalog, users: seen.append((users, feedback)) or np.zeros(6))
    env.reset(seed=0)
    before = env.get_state().users
    info = env.step(env.action_space.sample())[-1]
    assert seen[0][0].t.tolist() == before.t.tolist() == [0] * 6
    assert np.array_equal(seen[0][1].click, info["click"])
    assert {"utility", "channels", "dt", "left", "dwell_log"} - set(seen[0][1]) <= {"dwell_log"}


def test_a_call_goes_before_inherited_weights() -> None:
    env = vector(reward=Squared({"click": 3.0}))
    env.reset(seed=0)
    _, reward, *_, info = env.step(env.action_space.sample())
    assert reward.tolist() == (9 * info["objectives"][:, 0] ** 2).tolist()


@pytest.mark.parametrize(
    "returned",
    [None, 1.0, "1", np.zeros(5), np.zeros((6, 1)), [0, 1], np.full(6, np.nan), [np.inf] * 6, np.zeros(6, complex),
     ["a"] * 6, [[1], [2, 3]], np.zeros(6, "M8[s]"), {}],
    ids=str,
)  # fmt: skip
def test_what_is_no_number_a_user_is_refused_and_changes_nothing(returned: Any) -> None:
    env = vector(reward=lambda feedback, catalog, users: returned)
    env.reset(seed=0)
    before = env.get_state().users
    with pytest.raises(ConfigError, match=r"reward: RewardFunction must return a finite number for each of 6 users"):
        env.step(env.action_space.sample())
    assert env.get_state().users is before


@pytest.mark.parametrize("returned", [[True] * 6, np.arange(6, dtype=np.uint8), np.full(6, 0.5, np.float16), (1,) * 6])
def test_any_numbers_do(returned: Any) -> None:
    env = vector(reward=lambda feedback, catalog, users: returned)
    env.reset(seed=0)
    assert env.step(env.action_space.sample())[1].tolist() == [float(x) for x in returned]


def test_its_own_arrays_are_not_written_to() -> None:
    kept = np.ones(6)
    env = vector(reward=lambda feedback, catalog, users: kept, horizon=1)
    env.reset(seed=0)
    for _ in range(2):  # the second step pays 0 to who was done
        _, reward, *_ = env.step(env.action_space.sample())
    assert reward.tolist() == [0.0] * 6
    assert kept.tolist() == [1.0] * 6


def test_wrong_actions_are_refused_before_it_is_asked() -> None:
    def never(feedback: Any, catalog: Any, users: Any) -> Any:
        raise AssertionError("was asked")

    for fuse in (False, True):
        env = vector(reward=never)
        env.reset(seed=0)
        assert not fuse or env.fuse()
        with pytest.raises(SlateError, match="got \\[99, 0, 0, 0, 0\\] for user 2"):
            env.step([[0] * 5, [0] * 5, [99, 0, 0, 0, 0], *[[0] * 5] * 3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(reward=Assorted(), expected_reward=True), "expected_reward: needs a reward that is a weighted sum"),
        (dict(reward=novel, like_dislike=True), "like_dislike: excludes reward"),
        (dict(reward=Lazy()), "reward: Lazy must have `weights`, or `__call__"),
        (dict(reward=LikeDislike), 'must be weights by objective, a Reward, a function or "vector"'),
        (dict(reward=Clicks()), 'must be weights by objective, a Reward, a function or "vector"'),
        (dict(reward={"kind": "RewardFunction", "function": "os.system"}), "reward"),
        (dict(reward={"kind": "RewardFunction"}), "reward: must be a function"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        vector(**options)
    assert message in str(caught.value)


def test_who_needs_a_sum_says_so() -> None:
    with pytest.raises(ConfigError, match="reward: must be a weighted sum of objectives here, got Assorted"):
        _ = vector(reward=Assorted()).weights
    weights, shown = vector(reward={"dwell": 2.0}).weights
    assert (weights.tolist(), shown) == ([0.0, 2.0, 0.0, 0.0, 0.0], 0.0)


def test_parts_replace_parts_before_the_world_is_checked() -> None:
    """A response without the objectives that the domain pays by default."""
    bare = dict(response=Clicks(), preference=DotProduct(), dynamics=[], departure=Never())
    for options in (*[{"reward": reward} for reward in ({"click": 1}, LikeDislike(), novel)], {"like_dislike": True}):
        env = single("recgym/Ecommerce-v0", **bare, **options)
        env.reset(seed=0)
        assert env.objectives == ("click",)
        env.step(0)


def test_vector_rewards_stay_what_they_are() -> None:
    world = recgym.load_world("news").replace(reward=Assorted())
    env = RecVectorEnv(world, 2, reward="vector", render_mode="ansi")
    env.reset(seed=0)
    _, reward, *_, info = env.step([0, 1])
    assert np.array_equal(reward, info["objectives"])
    frames = env.render()
    assert frames is not None
    assert "Reward" in frames[0]


def test_rendered_rewards_are_those_paid() -> None:
    env = single(reward=lambda feedback, catalog, users: np.full(len(users), 7.25), render_mode="ansi")
    env.reset(seed=0)
    env.step([0, 1, 2, 3, 4])
    assert "+7.25" in env.render()


def test_copies_and_files() -> None:
    env = single(reward=Assorted(0.5))
    env.reset(seed=0)
    twins = [env, copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    assert len({twin.step([0, 1, 2, 3, 4])[1] for twin in twins}) == 1
    data = env.world.to_dict({})
    assert data["reward"] == {"kind": "Assorted", "weight": 0.5}
    with pytest.raises(ConfigError, match="reward: a function cannot be written"):
        single(reward=novel).world.to_dict({})


def test_check_component_takes_them() -> None:
    check_component(Assorted(), users=12, steps=5)
    with pytest.raises(AssertionError, match="Competitive: row 0 of a batch and alone"):
        check_component(Competitive(), users=12, steps=5)


def test_weights_are_plain_numbers() -> None:
    assert [type(w) for w in Weighted({"click": np.float16(1), "dwell": 2}).objectives.values()] == [float, float]  # type: ignore[dict-item]
