"""The step of an environment, from actions to observations and rewards: in Python at first, compiled later.

`recgym.envs` adds what Gymnasium asks for around it: spaces, seeds, infos and new episodes.
"""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from recgym.actions import Action, allowed
from recgym.errors import ConfigError
from recgym.fusion import Fused
from recgym.kernel import COMPILES, kernel
from recgym.lanes import copy_row
from recgym.models.reward import paid, pay
from recgym.noise import mix
from recgym.observations import Observation
from recgym.packed import Packed
from recgym.recording import NotFusable
from recgym.types import BOOL, Array, Feedback, Users, copied, empty
from recgym.world import World

FEEDBACK = ("objectives", "slate", "click", "probability")  # what an env hands on of each step's feedback
FUSE_AFTER = (
    500_000  # user-steps after which the step is compiled; each step of a batch adds 30 to the count, for its overhead
)
SHARE = 128  # users a thread has at least, unless told otherwise; below, handing over may cost more than it brings


class Stepped(NamedTuple):
    """What one step of B users did.

    Attributes:
        before: the users as they were.
        outcome: the arrays of `FEEDBACK`; reward, (B,) float64 or (B, M) float32; left and truncated, (B,) bool; and
            action_mask, (B, n) bool, unless it is the same at all steps. With `all_feedback`, also the other arrays of the feedback.
        observation: (B, width) float32, flat.
    """

    before: Users | Packed
    outcome: dict[str, Array]
    observation: Array


class Seen(NamedTuple):
    """Users, and what they and an agent see before a step.

    Attributes:
        users: n of them. observation: (n, width) float32, flat. mask: (n, choices) bool, the action masks; None where all
            users have the same at all steps.
    """

    users: Users | Packed
    observation: Array
    mask: Array | None


class Stepper:
    """B users of a world, and the step that takes them on.

    Args:
        world, actions, observations: the parts. num_envs: B.
        vector_reward: pay all objectives, (B, M) float32. expected_reward: pay their expectation where it is known.
        all_feedback: whether the outcome of a step has all of its `recgym.Feedback`.
        threads: how many share a compiled step; None: the processors of this process, each with 128 users at least.

    Attributes:
        state: the users, packed once the step is compiled; None before `begin`.
        terminated, truncated: (B,) bool, True where a user's episode has ended. ended: whether any has.
        fused: the compiled step, see `recgym.fusion`, or None. arrival: the same of `arrive`; it may stay None.
    """

    def __init__(
        self,
        world: World,
        actions: Action,
        observations: Observation,
        num_envs: int,
        *,
        vector_reward: bool = False,
        expected_reward: bool = False,
        all_feedback: bool = False,
        threads: int | None = None,
    ) -> None:
        self.world, self.actions, self.observations, self.num_envs = world, actions, observations, num_envs
        self.vector_reward, self.expected_reward = vector_reward, expected_reward
        own = callable(world.reward) and not vector_reward
        self.own_reward = world.reward if own else None  # a function of the feedback, which no compiled step holds
        self.all_feedback = all_feedback or own
        self.weights = None if callable(world.reward) else world.reward.weights(world.objectives)
        self.threads = min(threads or max(1, min(processors(), num_envs // SHARE)), num_envs)
        self.state: Users | Packed | None = None
        self.terminated, self.truncated = np.zeros(num_envs, np.bool_), np.zeros(num_envs, np.bool_)
        self.ended = False
        self.fused: Fused | None = None
        self.arrival: Fused | None = None
        self.work = 0  # steps so far, in steps of one user in a batch; the overhead of a step is worth some thirty
        self._same = ("candidates",) if actions.static else ()  # columns that are alike for all users, always

    @property
    def users(self) -> Users | None:
        """The users, as arrays; None before `begin`."""
        return None if self.state is None else self.state.unpacked()

    def begin(self, users: Users | Packed, rows: Array | None = None) -> None:
        """Take on new users: all, or those of the rows (n,) given, in ascending order."""
        before = self.state
        if rows is None or before is None:
            if self.fused is not None and isinstance(users, Packed):
                self.state = Packed.blank(self.fused.users, users.n)
                self.state.fill(np.arange(users.n), users)
            else:
                self.state = users
            self.mark(np.zeros(self.num_envs, np.bool_), np.zeros(self.num_envs, np.bool_))
            return
        self.state = before.unpacked().put(rows, users.unpacked(), self._same)
        ended = self.terminated.copy(), self.truncated.copy()
        for done in ended:
            done[rows] = False
        self.mark(*ended)

    def arrive(self, keys: Array, episodes: Array) -> Seen:
        """New users, or users at the start of another episode: (n,) uint64 keys and (n,) int32 episodes."""
        if self.arrival is None:
            return self.seen(self.world.arrive(keys, episodes))
        observation = self.observations.blank(len(keys))
        users, outcome = self.arrival(Packed((), (), len(keys)), keys, episodes, observation)
        return Seen(users, observation, outcome.get("action_mask"))

    def arrived(self, users: Users, keys: Array, episodes: Array, observation: Array) -> tuple[Users, dict[str, Array]]:
        """`arrive` as kernels and copies alone, which `fuse` can record. It fills `observation`; `users` are replaced."""
        users = self.world.arrive(copied(keys), copied(episodes))
        self.observations.encode(users, observation)
        return users, {} if self.actions.static else {"action_mask": self.actions.mask(users.candidates)}

    def seen(self, users: Users) -> Seen:
        """Users with their observations and masks."""
        mask = None if self.actions.static else self.actions.mask(users.candidates)
        return Seen(users, self.observe(users), mask)

    def mark(self, terminated: Array, truncated: Array) -> None:
        """Take note of whose episode has ended, (B,) bool each."""
        self.terminated, self.truncated, self.ended = terminated, truncated, some_end(terminated, truncated)

    def step(self, actions: Array) -> Stepped:
        """One step of all users.

        Args:
            actions: of `Action.batch`.

        Raises:
            ConfigError: there are no users yet (`begin` comes first); a reward or a form of actions from outside breaks its rule. Nothing has
                changed then.
        """
        before = self.state
        if before is None:
            raise ConfigError("step: needs a reset first")
        fresh, self.work = self.work < FUSE_AFTER, self.work + self.num_envs + 30
        if fresh and self.work >= FUSE_AFTER:
            self.fuse()
        observation = self.observations.blank(self.num_envs)
        after, outcome = (self.fused or self.plain)(before, actions, observation)
        if "wrong" in outcome and outcome["wrong"].any():
            form, user = self.actions.form, int(outcome["wrong"].argmax())
            rule = "must give candidates of the user, each once, or -1"
            raise ConfigError(
                f"action: {form!r}.decode {rule}, and did not for action {actions[user].tolist()} of user {user}"
            )
        if self.own_reward is not None:
            outcome["reward"] = paid(self.own_reward, Feedback.of(dict(outcome)), self.world.catalog, before.unpacked())
        self.state = after
        return Stepped(before, outcome, observation)

    def idle(self, rows: Array, outcome: dict[str, Array]) -> None:
        """Set the outcome of some rows to that of users who take no step."""
        _idle(rows, outcome["reward"], *[outcome[name] for name in FEEDBACK])

    def replace(self, rows: Array, new: Seen, stepped: Stepped) -> None:
        """Put other users in some rows after a step, with their observations and action masks in what it returned."""
        assert self.state is not None
        _put_rows(stepped.observation, rows, new.observation)
        if new.mask is not None:
            stepped.outcome["action_mask"][rows] = new.mask
        if isinstance(self.state, Packed):
            self.state = self.state.put(rows, new.users, self._same)
        else:
            self.state = self.state.put(rows, new.users.unpacked(), self._same, stepped.before.unpacked())

    def observe(self, users: Users) -> Array:
        """(B, width) float32: their flat observations."""
        flat = self.observations.blank(len(users))
        self.observations.encode(users, flat)
        return flat

    @property
    def quick(self) -> bool:
        """Whether `step_row` can be used: the step is compiled, and nothing needs all of its feedback. Of a single user only."""
        return self.fused is not None and self.state is not None and not self.all_feedback

    def step_row(self, actions: Array) -> tuple[dict[str, Any], Array, Array]:
        """`step` for a single user, for a tenth of its cost: numbers come as numbers, not as arrays of one row.

        Returns:
            Numbers of the outcome by name, a record of all of it (see `recgym.packed.Layout.row`), and the observation,
            (1, width) float32.

        Raises:
            ConfigError: see `step`.
        """
        fused: Any = self.fused
        observation = self.observations.blank(1)
        after, outcome = fused.run(self.state, actions, observation)
        numbers, record = fused.layout.row(outcome)
        if numbers.get("wrong"):
            self.step(actions)  # which raises the error, with its message
        self.state = after
        if numbers["left"] or numbers["truncated"]:
            self.terminated[0], self.truncated[0], self.ended = numbers["left"], numbers["truncated"], True
        return numbers, record, observation

    def plain(self, state: Users | Packed, actions: Array, observation: Array) -> tuple[Users, dict[str, Array]]:
        """The step as kernels and copies alone, which `fuse` can record. It fills `observation`.

        Returns:
            The users after it, and its outcome; see `Stepped`. A form of actions that is not recgym's is watched:
            ``outcome["wrong"]``, (B,) bool, marks the users whose slate is not allowed, and they are shown nothing.
        """
        world, users = self.world, state.unpacked()
        slate, wrong = self.actions.decode(actions, users), None
        if not self.actions.ours:
            slate, wrong = self._watched(slate, users)
        after, feedback = world.advance(users, slate, world.noise(users))
        objectives = feedback.objectives
        if self.expected_reward:
            known = len(world.response.objectives)
            expected = world.expected(users, slate)[:, :known]
            objectives = np.concatenate([expected, objectives[:, known:]], axis=1, dtype=np.float32)
        outcome = (
            dict(feedback.__dict__) if self.all_feedback else {name: feedback[name] for name in (*FEEDBACK, "left")}
        )
        if self.vector_reward:
            outcome["reward"] = copied(objectives)
        elif self.weights is not None:
            outcome["reward"] = pay(objectives, slate, *self.weights)
        if wrong is not None:
            outcome["wrong"] = wrong
        outcome["truncated"] = truncated = empty(feedback.left.shape, BOOL)
        _truncate(truncated, feedback.left, after.t, world.horizon)
        if not self.actions.static:
            outcome["action_mask"] = self.actions.mask(after.candidates)
        self.observations.encode(after, observation)
        return after, outcome

    def _watched(self, slate: Any, users: Users) -> tuple[Array, Array]:
        """A copy of the slates with the forbidden ones emptied, and the mask (B,) of the users they belong to."""
        shape = (len(users), self.world.slate_size)
        if not (isinstance(slate, np.ndarray) and slate.shape == shape and slate.dtype == np.int32):
            found = f"{slate.dtype} {slate.shape}" if isinstance(slate, np.ndarray) else type(slate).__name__
            raise ConfigError(f"action: {self.actions.form!r}.decode must give int32 of shape {shape}, got {found}")
        slate, wrong = copied(slate), empty(shape[0], BOOL)
        allowed(slate, wrong, users.candidates)
        return slate, wrong

    def fuse(self) -> bool:
        """Compile the step into one call; see `recgym.envs.RecVectorEnv.fuse`."""
        if self.fused is not None:
            return True
        parts = [part for part in (*self.world.parts, self.actions, self.observations) if part is not self.world.reward]
        if not COMPILES or self.expected_reward or not all(part.fusable for part in parts):
            return False
        try:
            self.fused = Fused(self.plain, self.example, self.threads)
        except NotFusable as reason:
            warnings.warn(f"the step of this world stays as it is, in Python: {reason}", stacklevel=4)
            return False
        with suppress(NotFusable):  # arrivals stay in Python then
            self.arrival = Fused(self.arrived, self.newcomers, self.threads, least=SHARE)
        return True

    def example(self, n: int) -> tuple[Users, Array, Array]:
        """Arguments of `plain` for n users that are made up for the purpose."""
        space = gym.vector.utils.batch_space(self.actions.space, n)
        space.seed(0)
        users = self.world.arrive(mix(range(n)))
        return users, self.actions.batch(space.sample(), n), self.observations.blank(n)

    def newcomers(self, n: int) -> tuple[Users, Array, Array, Array]:
        """Arguments of `arrived` for n users that are made up for the purpose."""
        keys, episodes = mix(range(n)), np.arange(n, dtype=np.int32)
        return self.world.arrive(keys), keys, episodes, self.observations.blank(n)

    def close(self) -> None:
        """Stop the threads."""
        for compiled in (self.fused, self.arrival):
            if compiled is not None:
                compiled.close()


def processors() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@kernel
def some_end(terminated, truncated):
    """Whether anybody's episode ended."""
    ended = False
    for b in range(terminated.shape[0]):
        ended |= terminated[b] or truncated[b]
    return ended


@kernel
def _put_rows(out, rows, source):
    """out[rows] = source, in a third of the time."""
    for r in range(rows.shape[0]):
        copy_row(out, rows[r], 0, source, r, out.shape[1])


@kernel
def _idle(rows, reward, objectives, slate, click, probability):
    for b in rows:
        reward[b] = 0
        objectives[b] = 0
        slate[b] = -1
        click[b] = False
        probability[b] = 0


@kernel
def _truncate(truncated, terminated, t, horizon):
    """Marks who reached the horizon without leaving."""
    for b in range(t.shape[0]):
        truncated[b] = t[b] >= horizon and not terminated[b]
