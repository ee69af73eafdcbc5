"""The replay against a reference that keeps everything in lists, and never forgets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from baselines.replay import Replay

USERS, WIDTH = 3, 2


class Lists:
    """All steps ever, user by user, in lists of dictionaries."""

    def __init__(self, kept: int, n_steps: int, gamma: float) -> None:
        self.kept, self.n_steps, self.gamma = kept, n_steps, gamma
        self.log: list[list[dict[str, Any]]] = [[] for _ in range(USERS)]

    def add(self, step: dict[str, np.ndarray]) -> None:
        for user, log in enumerate(self.log):
            log.append({name: array[user] for name, array in step.items()})

    def known(self) -> list[tuple[int, int]]:
        """(step, user) of all that can be drawn: still kept, and with a successor."""
        length = len(self.log[0])
        return [(t, user) for t in range(max(length - self.kept, 0), length - 1) for user in range(USERS)]

    def transition(self, t: int, user: int) -> tuple[float, float, bool, int]:
        """Sum of rewards, discount of what follows, whether anything is known, the step that follows."""
        log, total, factor = self.log[user], 0.0, 1.0
        for done in range(self.n_steps):
            here = log[t + done]
            if t + done == len(log) - 1 or here["cut"]:  # its successor is not known, or is of another episode
                return total, factor, done > 0, t + done
            total += factor * here["reward"]
            factor *= self.gamma
            if here["terminated"]:
                return total, 0.0, True, t + done + 1
        return total, factor, True, t + self.n_steps


def filled(steps: int, kept: int, n_steps: int, gamma: float = 0.9, ends: float = 0.25) -> tuple[Replay, Lists]:
    rng = np.random.default_rng(steps + n_steps)
    replay, lists = Replay(kept, n_steps, gamma), Lists(kept, n_steps, gamma)
    for t in range(steps):
        ended, left = rng.random(USERS) < ends, rng.random(USERS) < 0.5
        step = {"seen": np.full((USERS, WIDTH), [t, -t], np.float32), "user": np.arange(USERS), "reward": rng.normal(size=USERS),
                "terminated": ended & left, "cut": ended & ~left}  # fmt: skip
        replay.add(step)
        lists.add(step)
    return replay, lists


@pytest.mark.parametrize("n_steps", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("steps", [2, 5, 10, 11, 19, 20, 21, 57])
def test_transitions_are_those_of_the_lists(steps: int, n_steps: int) -> None:
    """With ten steps kept: before the ring is full, when it is just full, and after it has wrapped around, often."""
    replay, lists = filled(steps, 10, n_steps)
    t, user = np.array(lists.known()).T
    found = replay.transitions(t, user)
    for i in range(len(t)):
        paid, discount, known, after = lists.transition(t[i], user[i])
        assert found.counts[i] == known
        assert found.paid[i] == pytest.approx(paid, abs=1e-5)
        assert found.before["seen"][i].tolist() == [t[i], -t[i]]
        assert (found.before["user"][i], found.after["user"][i]) == (user[i], user[i])
        if known:
            assert found.discount[i] == pytest.approx(discount, abs=1e-6)
        if known and discount > 0:
            assert found.after["seen"][i].tolist() == [after, -after]
            assert after < steps, "the value of a step that has been seen"
    assert found.counts.any() == any(lists.transition(*pair)[2] for pair in zip(t, user, strict=True))


@pytest.mark.parametrize("steps", [2, 10, 34])
def test_draws_are_uniform_over_what_has_a_successor(steps: int) -> None:
    replay, lists = filled(steps, 10, 3)
    drawn = replay.sample(20_000, np.random.default_rng(0))
    pairs, counts = np.unique(
        np.stack([drawn.before["seen"][:, 0].astype(int), drawn.before["user"]]), axis=1, return_counts=True
    )
    assert [tuple(pair) for pair in pairs.T.tolist()] == lists.known()
    expected = 20_000 / counts.size
    assert ((counts - expected) ** 2 / expected).sum() < 2.5 * counts.size + 10  # chi-square


def test_the_same_generator_draws_the_same() -> None:
    replay, _ = filled(25, 10, 3)
    one, other, third = (replay.sample(50, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.paid, other.paid)
    assert (one.paid != third.paid).any()


def test_shapes_and_types() -> None:
    replay, _ = filled(25, 10, 3)
    drawn = replay.sample(7, np.random.default_rng(0))
    for found in (drawn.before, drawn.after):
        assert {name: (array.shape, str(array.dtype)) for name, array in found.items()} == {
            "seen": ((7, WIDTH), "float32"), "user": ((7,), "int64"), "reward": ((7,), "float32"),
            "terminated": ((7,), "bool"), "cut": ((7,), "bool")}  # fmt: skip
    assert [str(array.dtype) for array in drawn[2:]] == ["float32", "float32", "bool"]
    assert [array.shape for array in drawn[2:]] == [(7,)] * 3


def test_what_is_drawn_is_a_copy() -> None:
    replay, _ = filled(25, 10, 1)
    drawn = replay.sample(7, np.random.default_rng(0))
    kept = replay.arrays["seen"].copy()
    drawn.before["seen"][:] = 99
    np.testing.assert_array_equal(replay.arrays["seen"], kept)


def test_nothing_is_known_of_a_step_that_is_cut() -> None:
    replay, _ = filled(12, 10, 4, ends=0.0)
    replay.arrays["cut"][5 % 10] = True
    found = replay.transitions(np.array([4, 5]), np.array([0, 0]))
    assert found.counts.tolist() == [True, False]
    assert found.paid.tolist() == [pytest.approx(replay.arrays["reward"][4, 0]), 0.0]
    assert found.discount[0] == pytest.approx(0.9)
