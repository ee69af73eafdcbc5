"""What `test_cuda.py` runs in numba's CUDA simulator, in a process of its own: numba reads NUMBA_ENABLE_CUDASIM when imported.

The simulator runs the text that a device would run, as plain Python. NumPy's scalars round to float32 where numba computes in
float64, so that floats are compared within 1e-4.
"""

from __future__ import annotations

import dataclasses
import gc
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from numba import cuda

import recgym
from benchmarks.gpu import agreement, made
from recgym.cuda import SIMULATED, device, load
from recgym.cuda_env import CudaVectorEnv
from recgym.device import DeviceArray, _lent
from recgym.envs import RecEnv, RecVectorEnv
from recgym.errors import ConfigError, SlateError
from recgym.models.dynamics import Dynamics
from recgym.noise import philox
from recgym.types import Array, Users

assert SIMULATED
IDS = sorted(id for id in gym.registry if id.startswith("recgym/"))
FORMS: dict[str, dict[str, Any]] = {
    "a dict": {"world": "news", "observation": "dict", "slate_size": 3},
    "latent": {"world": "livestream", "observation": "latent"},
    "compact": {"world": "news", "observation": "compact", "candidates": "all"},
    "embedding": {"world": "ecommerce", "action": "embedding", "slate_size": 4, "null_action": True},
    "weights": {"world": "livestream", "action": "weights", "slate_size": 3},
    "vector": {"world": "news", "reward": "vector"},
    "likes": {"world": "ecommerce", "like_dislike": True, "slate_size": 2},
    "logs": {"world": "open-bandit"},
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def compare(ours: Any, theirs: Any, what: str) -> None:
    """The device's array is the CPU's: equal, or within 1e-4 where it holds floats."""
    if isinstance(theirs, dict):
        assert set(theirs) == set(ours)
        for name, array in theirs.items():
            compare(ours[name], array, f"{what}, {name}")
        return
    assert isinstance(ours, DeviceArray), what
    array = np.asarray(ours)
    assert (array.shape, array.dtype) == (theirs.shape, theirs.dtype), what
    if theirs.dtype.kind == "f":
        np.testing.assert_allclose(array, theirs, rtol=1e-4, atol=1e-4, err_msg=what)
    else:
        np.testing.assert_array_equal(array, theirs, err_msg=what)


def compare_step(ours: tuple[Any, ...], theirs: tuple[Any, ...], t: int) -> None:
    for name, a, b in zip(("observation", "reward", "terminated", "truncated"), ours, theirs, strict=False):
        compare(a, b, f"{name}, step {t}")
    for name in ("objectives", "slate", "click", "probability", "action_mask"):
        compare(ours[4][name], theirs[4][name], f"{name}, step {t}")


def compare_users(ours: RecVectorEnv, theirs: RecVectorEnv) -> None:
    a, b = ours.get_state(), theirs.get_state()
    assert set(a.users) == set(b.users)
    for name in b.users:
        assert a.users[name].dtype == b.users[name].dtype
        np.testing.assert_allclose(a.users[name], b.users[name], rtol=1e-4, atol=1e-4, err_msg=name)
    np.testing.assert_array_equal(a.terminated, b.terminated)
    np.testing.assert_array_equal(a.truncated, b.truncated)


def pair(n: int, mode: str, **options: Any) -> tuple[RecVectorEnv, RecVectorEnv]:
    """The same environment on the device and on the CPU."""
    theirs = RecVectorEnv(num_envs=n, autoreset_mode=mode, **options)
    ours = RecVectorEnv(num_envs=n, autoreset_mode=mode, device="cuda", **theirs.options)
    assert isinstance(ours, CudaVectorEnv)
    theirs.action_space.seed(1)
    return ours, theirs


def go(ours: RecVectorEnv, theirs: RecVectorEnv, steps: int) -> int:
    """Step both from a reset on; returns how many episodes ended."""
    compare(ours.reset(seed=5)[0], theirs.reset(seed=5)[0], "first observation")
    endings = 0
    for t in range(steps):
        action = theirs.action_space.sample()
        a, b = ours.step(action), theirs.step(action)
        compare_step(a, b, t)
        ended = b[2] | b[3]
        endings += int(ended.sum())
        if "final_obs" in b[4]:
            flat = np.asarray(a[4]["final_obs"])
            for row in np.flatnonzero(ended):
                np.testing.assert_allclose(flat[row], b[4]["final_obs"][row], rtol=1e-4, atol=1e-4)
    compare_users(ours, theirs)
    return endings


@pytest.mark.parametrize("id", IDS)
def test_every_id_goes_as_on_the_cpu(id: str) -> None:
    env = made(id, 1, "cpu")
    world = dataclasses.replace(env.world, horizon=4)
    assert go(*pair(3, "SameStep", **{**env.options, "world": world}), 7) > 0


@pytest.mark.parametrize("id", IDS)
def test_every_id_agrees_over_a_hundred_steps(id: str) -> None:
    found = agreement(made(id, 2, "cuda"), made(id, 2, "cpu"), 100)
    assert found["parted"] == 0
    # Engagement is an exponential of some five standard normals, which the simulator draws in float32.
    assert found["worst"] < (3e-4 if "LongTerm" in id else 1e-4)


@pytest.mark.parametrize("name", FORMS)
def test_every_form_goes_as_on_the_cpu(name: str) -> None:
    go(*pair(2, "SameStep", **FORMS[name]), 3)


def test_a_user_who_ended_takes_no_step() -> None:
    assert go(*pair(3, "NextStep", world="ecommerce", slate_size=3, horizon=3), 9) > 3


def test_a_device_from_gymnasium() -> None:
    env = gym.make_vec("recgym/Ecommerce-v0", num_envs=2, device="cuda", autoreset_mode="SameStep")
    assert isinstance(env.unwrapped, CudaVectorEnv)
    assert env.unwrapped.fuse()
    assert env.unwrapped.render() is None


def test_seeds_masks_and_next_episodes() -> None:
    ours, theirs = pair(3, "SameStep", world="ecommerce", slate_size=2)
    for options in ({"seed": [7, 3, 9]}, {}, {"seed": 11}):
        a, b = ours.reset(**options), theirs.reset(**options)  # type: ignore[arg-type]
        compare(a[0], b[0], "observation")
        for name in ("objectives", "slate", "click", "probability", "action_mask"):
            compare(a[1][name], b[1][name], name)
    action = np.ones((3, 2), np.int64)
    compare_step(ours.step(action), theirs.step(action), 0)
    for seed in (None, 4):
        options = {"reset_mask": np.array([False, True, False])}
        a, b = (env.reset(seed=seed, options=options) for env in (ours, theirs))
        compare(a[0], b[0], "observation")
        compare(a[1]["action_mask"], b[1]["action_mask"], "mask")
        compare(a[1]["slate"], b[1]["slate"], "slate")
        compare_users(ours, theirs)
        compare_step(ours.step(action), theirs.step(action), 1)
    np.testing.assert_array_equal(ours.action_masks(), theirs.action_masks())


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_snapshots_go_from_one_device_to_the_other(mode: str) -> None:
    ours, theirs = pair(3, mode, world="news", slate_size=2, horizon=3)
    theirs.reset(seed=2)
    for _ in range(3 if mode == "NextStep" else 2):  # NextStep: everybody has ended
        theirs.step(theirs.action_space.sample())
    ours.set_state(theirs.get_state())
    compare_users(ours, theirs)
    for t in range(2):
        action = theirs.action_space.sample()
        compare_step(ours.step(action), theirs.step(action), t)
    other = RecVectorEnv(num_envs=3, autoreset_mode=mode, **theirs.options)
    other.set_state(ours.get_state())
    compare_users(ours, other)


def test_actions_of_the_host_are_refused_as_on_the_cpu() -> None:
    env = RecVectorEnv("ecommerce", 2, slate_size=2, autoreset_mode="SameStep", device="cuda")
    for call in (lambda: env.step([[0, 1]] * 2), env.get_state, env.action_masks):
        with pytest.raises(ConfigError, match="needs a reset first"):
            call()
    env.reset(seed=0)
    with pytest.raises(SlateError, match=r"got \[0, 99\] for user 1"):
        env.step([[0, 1], [0, 99]])
    with pytest.raises(SlateError, match="must have shape"):
        env.step([0, 1])


@pytest.mark.parametrize("slate_size", [1, 2])
def test_actions_of_the_device(slate_size: int) -> None:
    ours, theirs = pair(3, "SameStep", world="ecommerce", slate_size=slate_size)
    ours.reset(seed=0)
    theirs.reset(seed=0)
    action = theirs.action_space.sample()
    for dtype in (np.int32, np.uint8, np.int64):
        compare_step(ours.step(cuda.to_device(action.astype(dtype))), theirs.step(action), 0)
    for bad, what in ((action.astype(np.float32), "must be integers"), (action[:2], "must have shape")):
        with pytest.raises(SlateError, match=what):
            ours.step(cuda.to_device(bad))
    wrong = action.copy()
    wrong[1:] = 99
    lowest = action.copy()
    lowest[1:] = 0
    compare_step(ours.step(cuda.to_device(wrong)), theirs.step(lowest), 1)
    with pytest.raises(SlateError, match=r"must lie in .* for user [12] in an earlier step"):
        ours.check()  # type: ignore[attr-defined]
    ours.check()  # type: ignore[attr-defined]  # once is enough
    ours.step(cuda.to_device(wrong))
    with pytest.raises(SlateError, match="in an earlier step"):
        ours.reset()


def test_bad_actions_come_to_light_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recgym.cuda_env.CHECK_EVERY", 2)
    env = RecVectorEnv("ecommerce", 2, autoreset_mode="SameStep", device="cuda")
    env.reset(seed=0)
    env.step(cuda.to_device(np.array([0, -5])))
    with pytest.raises(SlateError, match="for user 1 in an earlier step"):
        env.step(cuda.to_device(np.zeros(2, np.int64)))


def test_arrays_are_shared_with_torch_and_numpy() -> None:
    env = RecVectorEnv("ecommerce", 3, autoreset_mode="SameStep", device="cuda")
    observation, info = env.reset(seed=0)
    for array in (observation, *info.values()):
        tensor, known = torch.from_dlpack(array), np.asarray(array)
        assert tensor.data_ptr() == array.pointer
        np.testing.assert_array_equal(tensor.numpy(), known)
        np.testing.assert_array_equal(np.from_dlpack(array), known)
    assert torch.from_dlpack(observation).T.is_contiguous()
    assert len(observation) == 3
    assert "shape=(3, " in repr(observation)
    with pytest.raises(ValueError, match="must be copied"):
        np.asarray(observation, copy=False)
    with pytest.raises(AttributeError):
        _ = observation.__cuda_array_interface__  # the simulator's memory is the host's


def test_an_array_that_is_held_is_not_written_to() -> None:
    env = RecVectorEnv("ecommerce", 2, autoreset_mode="SameStep", device="cuda")
    assert isinstance(env, CudaVectorEnv)
    observation, _ = env.reset(seed=0)
    held, known = torch.from_dlpack(observation), np.asarray(observation)
    del observation
    action = np.ones(2, np.int64)
    for _ in range(5):
        env.step(action)
    np.testing.assert_array_equal(held.numpy(), known)
    del held
    gc.collect()
    assert not _lent
    free = len(env._observations._free)
    for _ in range(5):
        env.step(action)
    assert len(env._observations._free) == free, "memory that nobody holds is used again"
    capsule = observation = env.step(action)[0].__dlpack__()  # nobody takes what is in it
    assert len(_lent) == 1
    del capsule, observation
    assert not _lent


def test_philox_on_the_device() -> None:
    # Known answers of Random123: kat_vectors, philox4x32 with 10 rounds.
    answers = {
        (0,) * 6: (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
        (0xFFFFFFFF,) * 6: (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0): (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    }  # fmt: skip
    words = device(philox)

    def kernel(out: Any, given: Any) -> None:
        for w, word in enumerate(words(*[given[i] for i in range(6)])):
            out[w] = word

    for given, known in answers.items():
        out = cuda.to_device(np.zeros(4, np.uint64))
        load().jit(kernel)[1, 1](out, cuda.to_device(np.array(given, np.uint64)))
        assert tuple(out.copy_to_host().tolist()) == known


@dataclass(frozen=True, eq=False)
class Numpy(Dynamics):
    """A stranger's part: any NumPy will do."""

    def __call__(self, users: Users, catalog: Any, feedback: Any, noise: Array) -> dict[str, Array]:
        return {"interest": users.interest * np.float32(0.99)}


@dataclass(frozen=True, eq=False)
class Claims(Numpy):
    """A part that says it could be recorded, and cannot."""

    fusable = True


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"expected_reward": True}, "expected_reward: must be left out"),
        ({"render_mode": "ansi"}, "render_mode: must be left out"),
        ({"reward": lambda feedback, catalog, users: feedback.click.sum(axis=1)}, "reward: must be a weighted sum"),
        ({"autoreset_mode": "Disabled"}, "autoreset_mode: must be 'SameStep' or 'NextStep'"),
        ({"dynamics": (Numpy(),)}, r'"cuda" needs parts that say `fusable = True`, got \[\'Numpy\'\]'),
        ({"dynamics": (Claims(),)}, 'cannot be recorded for "cuda": .*interest'),
        ({"device": "gpu"}, "Did you mean|must be one of"),
    ],
)
def test_what_a_device_cannot_do_is_said(options: dict[str, Any], what: str) -> None:
    world = "interest-exploration" if "dynamics" in options else "ecommerce"
    with pytest.raises(ConfigError, match=what):
        RecVectorEnv(world, 2, **{"autoreset_mode": "SameStep", "device": "cuda", **options})


def test_temporaries_must_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recgym.cuda_env.ROOM", 100)
    with pytest.raises(ConfigError, match="has 100 bytes for the temporaries of a user"):
        RecVectorEnv("news", 2, autoreset_mode="SameStep", device="cuda")


def test_a_subclass_stays_on_the_cpu() -> None:
    class Mine(RecVectorEnv):
        pass

    with pytest.raises(ConfigError, match='must be "cpu" for a subclass'):
        Mine("ecommerce", 2, device="cuda")


def test_a_single_env_has_no_device() -> None:
    with pytest.raises(ConfigError, match="device: is an argument of the vector env only"):
        RecEnv("ecommerce", device="cuda")
    assert recgym.RecVectorEnv("ecommerce", 1, device="cpu").reset(seed=0)
