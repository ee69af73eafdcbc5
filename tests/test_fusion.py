"""The step as one compiled call gives the same bits as the step; what cannot be recorded is left as it is."""

from __future__ import annotations

import copy
import ctypes
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import recgym
from recgym import fusion
from recgym.classics.recsim import interest_exploration
from recgym.envs import RecEnv, RecVectorEnv
from recgym.errors import SlateError
from recgym.files import cache_folder
from recgym.fusion import written
from recgym.kernel import kernel
from recgym.models import choice as choices
from recgym.models.dynamics import Dynamics, InterestDrift, Mood, TwoSpeedDrift
from recgym.packed import Packed
from recgym.recording import Program
from recgym.tape import tapes
from recgym.types import F32, Array, Users, copied, zeros

IDS = sorted(id for id in gym.registry if id.startswith("recgym/"))
MODES = ("NextStep", "SameStep", "Disabled")
WORLDS: dict[str, dict[str, Any]] = {
    "a dict": {"world": "news", "observation": "dict", "slate_size": 3},
    "latent": {"world": "livestream", "observation": "latent"},
    "compact": {"world": "news", "observation": "compact", "candidates": "all"},
    "embedding": {"world": "ecommerce", "action": "embedding", "slate_size": 4, "null_action": True},
    "weights": {"world": "livestream", "action": "weights", "slate_size": 3},
    "no null": {"world": "livestream", "null_action": False},
    "vector": {"world": "news", "reward": "vector"},
    "likes": {"world": "ecommerce", "like_dislike": True, "slate_size": 2},
    "cascade": {"world": "ecommerce", "slate_size": 5, "choice": choices.Cascade()},
    "positions": {"world": "news", "slate_size": 5, "choice": choices.PositionBased((0.9, 0.5, 0.3, 0.2, 0.1))},
    "logs": {"world": "open-bandit"},
    "rendered": {"world": "livestream", "render_mode": "ansi"},
}  # fmt: skip


def same(a: Any, b: Any) -> bool:
    if isinstance(a, (dict, recgym.types.Record)):
        return set(a) == set(b) and all(same(a[name], b[name]) for name in a)
    if isinstance(a, np.ndarray) and a.dtype == object:
        return len(a) == len(b) and all((x is None and y is None) or same(x, y) for x, y in zip(a, b, strict=True))
    return (
        type(a) is type(b)
        and np.asarray(a).dtype == np.asarray(b).dtype
        and np.asarray(a).tobytes() == np.asarray(b).tobytes()
    )


def in_python(source: str, *_: Any) -> Any:
    """The function of a program, run by Python in no time: the kernels that it calls are compiled already."""
    lines = [
        line
        for line in source.splitlines()
        if not line.startswith(
            (
                "from numba",
                "from recgym.fusion",
                "from recgym.kernel import compiled",
                "from recgym.packed",
                "@compiled",
            )
        )
    ]
    namespace: dict[str, Any] = {
        "pointer": lambda buffer, offset: (buffer, offset),
        "address": lambda table, i: ((ctypes.c_byte * 2**40).from_address(int(table[i])), 0),
        "carray": lambda place, shape, dtype: np.ndarray(shape, dtype, *place),
        "copy": fusion.copy,
        "fill": fusion.fill,
    }
    exec("\n".join(lines), namespace)
    return namespace["step"]


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fused steps are run by Python, which saves numba's seconds."""
    monkeypatch.setattr(fusion, "_compiled", in_python)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("name", WORLDS)
def test_every_form_can_be_fused(name: str) -> None:
    assert RecVectorEnv(num_envs=2, **WORLDS[name]).fuse()  # which compares


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("mode", MODES)
def test_a_batch_goes_the_same_way(id: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, fused = (gym.make_vec(id, num_envs=5, autoreset_mode=mode).unwrapped for _ in range(2))
    assert isinstance(plain, RecVectorEnv)
    assert isinstance(fused, RecVectorEnv)
    if id not in ("recgym/EcommerceSlate-v0", "recgym/Sardine-SlateTopK-BoredInf-v0"):
        monkeypatch.setattr(fusion, "_compiled", in_python)
    assert fused.fuse()
    assert fused.stepper.arrival is not None
    plain.action_space.seed(0)
    assert same(plain.reset(seed=3)[0], fused.reset(seed=3)[0])
    endings = 0
    for t in range(110):
        action = plain.action_space.sample()
        a, b = plain.step(action), fused.step(action)
        assert all(same(x, y) for x, y in zip(a, b, strict=True)), t
        assert same(plain.get_state().users, fused.get_state().users)
        done = a[2] | a[3]
        endings += int(done.sum())
        if mode == "Disabled" and done.all():
            a, b = (env.reset(options={"reset_mask": done}) for env in (plain, fused))
            assert same(a[0], b[0])
            assert same(a[1], b[1])
    assert endings > 0 or plain.world.horizon > 110


@pytest.mark.parametrize("options", [{}, {"observation": "dict"}, {"reward": "vector"}, {"candidates": "all", "observation": "compact"}],
                         ids=["flat", "dict", "vector", "all"])  # fmt: skip
def test_a_single_env_goes_the_same_way(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    if options:
        monkeypatch.setattr(fusion, "_compiled", in_python)
    plain, fused = (RecEnv("ecommerce", slate_size=2, horizon=15, **options) for _ in range(2))
    assert fused.fuse()
    plain.action_space.seed(1)
    for episode in range(4):
        a, b = (env.reset(seed=7 if episode == 0 else None) for env in (plain, fused))
        assert same(a[0], b[0])
        assert same(a[1], b[1])
        over = False
        while not over:
            action = plain.action_space.sample()
            a, b = plain.step(action), fused.step(action)
            assert same(a[0], b[0])
            assert [type(x) for x in a] == [type(x) for x in b]
            assert list(a[4]) == list(b[4])
            assert all(same(x, y) for x, y in zip(a, b, strict=True))
            over = b[2] or b[3]
        with pytest.raises(recgym.ConfigError, match="has ended"):
            fused.step(action)
    assert fused.observation_space.contains(b[0])


@pytest.mark.usefixtures("uncompiled")
def test_bad_actions_and_order_are_refused_as_before() -> None:
    env = RecEnv("ecommerce", slate_size=2)
    env.fuse()
    with pytest.raises(recgym.ConfigError, match="needs a reset first"):
        env.step([0, 1])
    env.reset(seed=0)
    before = env.get_state()
    for bad, what in (
        ([0, 99], "must lie in"),
        ([0], "must have shape"),
        (["a", "b"], "must be integers"),
        ([-1, 0], "must lie in"),
    ):
        with pytest.raises(SlateError, match=what):
            env.step(bad)
    assert same(before.users, env.get_state().users)
    many = RecVectorEnv("ecommerce", 3, slate_size=2)
    many.fuse()
    many.reset(seed=0)
    with pytest.raises(SlateError, match=r"got \[0, 99\] for user 2"):
        many.step([[0, 1], [0, 1], [0, 99]])


@pytest.mark.parametrize(("users", "threads"), [(3000, 2), (7, 3), (2, 5)])
def test_threads_share_a_batch(users: int, threads: int) -> None:
    plain = RecVectorEnv("news", users, threads=1)
    fused = RecVectorEnv("news", users, threads=threads)
    assert fused.fuse()
    assert fused.stepper.fused._threads == min(threads, users)  # type: ignore[union-attr]
    assert fused.stepper.fused._crew is not None  # type: ignore[union-attr]
    plain.action_space.seed(0)
    assert same(plain.reset(seed=0)[0], fused.reset(seed=0)[0])
    for t in range(25):
        action = plain.action_space.sample()
        assert all(same(x, y) for x, y in zip(plain.step(action), fused.step(action), strict=True)), t
    fused.close()
    fused.stepper.fused(fused.stepper.state, action, np.empty((users, fused.observations.width), F32))  # type: ignore[call-arg, arg-type]


@pytest.mark.usefixtures("uncompiled")
def test_an_env_fuses_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recgym.stepper.FUSE_AFTER", 31 * 6)
    env, plain = (RecEnv(interest_exploration(items=100)) for _ in range(2))
    plain.batch.stepper.work = 10**9  # past it
    for e in (env, plain):
        e.reset(seed=4)
    for t in range(12):
        assert (env.batch.stepper.fused is not None) == (t >= 6)
        assert all(same(x, y) for x, y in zip(env.step([1, 2]), plain.step([1, 2]), strict=True))
    assert plain.batch.stepper.fused is None


@pytest.mark.usefixtures("uncompiled")
def test_a_snapshot_is_not_written_to() -> None:
    for mode in MODES:
        env = RecVectorEnv("ecommerce", 4, horizon=6, autoreset_mode=mode)
        env.fuse()
        env.reset(seed=0)
        seen = []
        for _ in range(20):
            env.step(np.ones(4, np.int64))
            state = env.get_state()
            seen.append((state, copy.deepcopy(state.users)))
        assert all(same(state.users, users) for state, users in seen)
        env.set_state(seen[3][0])
        env.step(np.ones(4, np.int64))
        assert same(env.get_state().users, seen[4][1])


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("how", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copied", "pickled"])
def test_copies_go_on_alone(how: Any) -> None:
    env = RecEnv("ecommerce", slate_size=2)
    env.fuse()
    env.reset(seed=0)
    env.step([1, 2])
    other = how(env)
    assert other.batch.stepper.fused is not None
    assert isinstance(other.batch.stepper.state, Packed)
    assert all(same(x, y) for x, y in zip(env.step([2, 3]), other.step([2, 3]), strict=True))


@pytest.mark.usefixtures("uncompiled")
def test_expected_rewards_and_strangers_are_not_fused() -> None:
    assert not RecVectorEnv("ecommerce", 2, expected_reward=True).fuse()
    assert not clicks(Numpy()).fuse()


def clicks(*dynamics: Dynamics, n: int = 3, **options: Any) -> RecVectorEnv:
    """Users who click, and change as told."""
    return RecVectorEnv(interest_exploration(items=100).replace(dynamics=dynamics), n, **options)


ACTION = np.ones((3, 2), np.int64)


@dataclass(frozen=True, eq=False)
class Numpy(Dynamics):
    """A stranger's part: any NumPy will do."""

    def __call__(self, users: Users, catalog: Any, feedback: Any, noise: Array) -> dict[str, Array]:
        return {"interest": users.interest * np.float32(0.99)}


@dataclass(frozen=True, eq=False)
class Claims(Dynamics):
    """A part that says it could be recorded, and cannot."""

    fusable = True

    def change(self, interest: Array, click: Array) -> None:
        raise NotImplementedError

    def __call__(self, users: Users, catalog: Any, feedback: Any, noise: Array) -> dict[str, Array]:
        interest = copied(users.interest)
        self.change(interest, feedback.click)
        return {"interest": interest}


@dataclass(frozen=True, eq=False)
class Unseen(Claims):
    """Writes by an operator of NumPy's, which the recording does not see: the check finds it."""

    def change(self, interest: Array, click: Array) -> None:
        interest *= np.float32(0.5)


@dataclass(frozen=True, eq=False)
class Elsewhere(Claims):
    """An array that is new each time and comes from nowhere."""

    def change(self, interest: Array, click: Array) -> None:
        _scale(interest, np.full(len(interest), 0.5, np.float32))


@dataclass(frozen=True, eq=False)
class Returns(Claims):
    """A kernel that answers."""

    def change(self, interest: Array, click: Array) -> None:
        if _largest(interest) > 0:
            _scale(interest, zeros(len(interest), F32))


@dataclass(frozen=True, eq=False)
class Counts(Claims):
    """A number that depends on the users."""

    def change(self, interest: Array, click: Array) -> None:
        _shrink(interest, 1.0 / len(interest))


@dataclass(frozen=True, eq=False)
class Column(Claims):
    """A view that is no slice of the first axis."""

    def change(self, interest: Array, click: Array) -> None:
        _scale(interest, interest[:, 0])


@dataclass(frozen=True, eq=False)
class Greets(Claims):
    """One whose `begin` cannot be recorded, while its step can."""

    def begin(self, users: Users, catalog: Any, noise: Array) -> dict[str, Array]:
        return {"interest": users.interest * np.float32(0.5)}

    def change(self, interest: Array, click: Array) -> None:
        _shrink(interest, 0.5)


@dataclass(frozen=True, eq=False)
class Mine(Claims):
    """One that keeps its word."""

    def change(self, interest: Array, click: Array) -> None:
        _shrink(interest, 0.5)


@kernel
def _scale(interest, factor):
    for b in range(interest.shape[0]):
        interest[b] *= factor[b]


@kernel
def _largest(interest):
    return interest.max()


@kernel
def _shrink(interest, factor):
    for b in range(interest.shape[0]):
        for k in range(interest.shape[1]):
            interest[b, k] *= factor


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (Elsewhere(), "_scale: an array of shape .2,. comes from elsewhere than `empty`"),
        (Returns(), "_largest: returns something"),
        (Counts(), "a number depends on the users"),
        (Column(), "neither a slice of the first axis nor a reshape"),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, Dynamics) else "",
)
def test_what_cannot_be_recorded_stays_in_python(part: Dynamics, why: str) -> None:
    env, plain = (clicks(part) for _ in range(2))
    with pytest.warns(UserWarning, match=f"stays as it is, in Python: .*{why}"):
        assert not env.fuse()
    for e in (env, plain):
        e.reset(seed=0)
    for _ in range(5):
        assert all(same(x, y) for x, y in zip(env.step(ACTION), plain.step(ACTION), strict=True))


@pytest.mark.usefixtures("uncompiled")
def test_arrivals_that_cannot_be_recorded_stay_in_python() -> None:
    env, plain = (clicks(Greets(), horizon=3) for _ in range(2))
    assert env.fuse()
    assert env.stepper.fused is not None
    assert env.stepper.arrival is None
    assert all(same(x, y) for x, y in zip(env.reset(seed=0), plain.reset(seed=0), strict=True))
    for _ in range(9):
        assert all(same(x, y) for x, y in zip(env.step(ACTION), plain.step(ACTION), strict=True))


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("seed", [None, 9, [4, 8, 2]], ids=str)
def test_some_rows_are_reset_as_before(seed: Any) -> None:
    env, plain = (RecVectorEnv("news", 3, autoreset_mode="Disabled") for _ in range(2))
    assert env.fuse()
    mask = np.array([True, False, True])
    for e in (env, plain):
        e.reset(seed=0)
        e.step(np.zeros(3, np.int64))
    kept = env.get_state().users
    before = copy.deepcopy(kept)
    a, b = (e.reset(seed=seed, options={"reset_mask": mask}) for e in (env, plain))
    assert same(a[0], b[0])
    assert same(a[1], b[1])
    assert same(kept, before), "a snapshot is not written to"
    assert all(same(x, y) for x, y in zip(env.step([1, 2, 3]), plain.step([1, 2, 3]), strict=True))


@pytest.mark.usefixtures("uncompiled")
def test_what_the_recording_does_not_see_is_found_before_it_is_used() -> None:
    with pytest.warns(UserWarning, match="compiled, the step gives another interest"):
        assert not clicks(Unseen()).fuse()


def test_a_part_of_ones_own_is_fused_where_it_says_so() -> None:
    env, plain = (clicks(Mine(), InterestDrift()) for _ in range(2))
    assert env.fuse()
    for e in (env, plain):
        e.reset(seed=0)
    for _ in range(20):
        assert all(same(x, y) for x, y in zip(env.step(ACTION), plain.step(ACTION), strict=True))


def test_moods_are_fused() -> None:
    """One that counts items by a sigmoid, and one that does not and is held at its limit."""
    bounded = Mood(match=2.0, click=0.3, minutes=0.1, level=-0.5, saturates=True, initial=0.5, limit=(0.1, 1.5))
    env, plain = (clicks(bounded, Mood(match=2.0, click=1.0, name="regard", limit=0.2)) for _ in range(2))
    assert env.fuse()
    for e in (env, plain):
        e.reset(seed=0)
    for _ in range(10):
        assert all(same(x, y) for x, y in zip(env.step(ACTION), plain.step(ACTION), strict=True))
        assert same(env.get_state().users, plain.get_state().users)
    assert plain.get_state().users.regard.max() == np.float32(0.2)


def test_worlds_that_differ_in_numbers_share_one_program() -> None:
    one, two = (clicks(InterestDrift(rate), horizon=h) for h, rate in ((10, 0.1), (20, 0.2)))
    other = clicks(InterestDrift(), InterestDrift())
    first, second, third = (written(Program(env.stepper.plain, env.stepper.example)) for env in (one, two, other))
    assert first == second
    assert first != third


def test_where_compiled_steps_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECGYM_CACHE", str(tmp_path / "steps"))
    assert cache_folder() == tmp_path / "steps"
    source = '"""Nothing."""\nwhere = 1\n'
    module = fusion._module(source, ())
    assert module.where == 1
    (file,) = cache_folder().iterdir()
    assert file.read_text() == source
    assert file.parent.stat().st_mode & 0o77 == 0  # numba unpickles what lies there
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("RECGYM_CACHE", str(blocked))
    assert fusion._module(source, ()).where == 1  # it does without
    monkeypatch.delenv("RECGYM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "recgym"


@pytest.mark.usefixtures("uncompiled")
def test_columns_that_begin_as_one_array_part_ways() -> None:
    """The two speeds of interest start at the interest: recorded on that, they would be one."""
    env = clicks(TwoSpeedDrift(0.5, 0.1))
    users = env.world.arrive(recgym.mix([0]))
    assert users.short_term is users.interest
    assert env.fuse()


@pytest.mark.usefixtures("uncompiled")
def test_recording_leaves_nothing_on() -> None:
    env = RecVectorEnv("ecommerce", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert env.fuse()
    assert tapes == []
