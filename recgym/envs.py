"""The environments: `RecVectorEnv`, a batch of users on the native core, and `RecEnv`, a batch of one."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from recgym.component import Component
from recgym.errors import ConfigError, require, require_count, require_option, unknown
from recgym.fusion import Fused, NotFusable, Packed
from recgym.kernel import COMPILES, kernel
from recgym.models.reward import LikeDislike, Reward, RewardFunction, Weighted, paid, pay
from recgym.noise import mix
from recgym.render import RENDER_MODES, Frame, Reasons, render
from recgym.spaces import Actions, Layout, Observations
from recgym.types import BOOL, F32, I32, Array, Feedback, Users, copied, empty
from recgym.world import World
from recgym.worlds import make_world

ENDED, WRONG = 1, 2  # what `_status` returns
INFO = {
    "objectives": 0,
    "slate": -1,
    "click": False,
    "probability": 0,
}  # of the feedback, in `info`; and if no step was taken
FUSE_AFTER = 500_000  # steps of a user after which an env compiles its step; one of the batch itself counts as 30 more
SHARE = 1024  # users a thread has at least, unless told otherwise; below, handing over may cost more than it brings


class EnvState(NamedTuple):
    """A snapshot of a vector env: `get_state` takes it, `set_state` restores it. Replace `users.key` for other futures."""

    users: Users
    terminated: Array  # (B,) bool
    truncated: Array  # (B,) bool


class _Specified:
    """Gymnasium's `spec`, with Python's numbers in place of NumPy's, so that it can be written as JSON."""

    _spec: Any = None

    @property
    def spec(self) -> Any:
        return self._spec

    @spec.setter
    def spec(self, spec: Any) -> None:
        if spec is not None:
            spec.kwargs = _plain(spec.kwargs)
        self._spec = spec


class RecVectorEnv(_Specified, VectorEnv):
    """B independent users of one World, stepped together.

    Row i of a batch reset with seed s is, bit for bit, the single environment reset with seed s + i.

    Args:
        world: a World, the name of one (see `recgym.worlds`), or a folder written by `World.save`.
        num_envs: B >= 1.
        slate_size: S >= 1; None leaves the world's.
        action: "item", "slate" or "embedding", see `recgym.spaces.Actions`; None: "item" where S = 1, else "slate".
        observation: "flat", "dict", "latent" or "compact", see `recgym.spaces.Observations`.
        reward: objective -> weight, a Reward, or a function ``(feedback, catalog, users) -> (B,)``, see
            `recgym.models.reward`; "vector" pays all objectives, (M,) a step; None: the world's own.
        like_dislike: pay +1 for a clicked and -1 for an ignored item instead.
        expected_reward: pay E[reward | state, slate] instead of the realised one: less noise to learn from. The
            objectives of the departure, which follow from what was realised, are paid as they came. The reward must
            be a weighted sum of objectives.
        null_action: whether recommending nothing is an action; None: the world's default.
        autoreset_mode: "NextStep", "SameStep" or "Disabled" (`gymnasium.vector.AutoresetMode`). With "Disabled" a
            finished user stays as it is, paying 0, until ``reset(options={"reset_mask": mask})``.
        render_mode: None, "ansi" or "rgb_array".
        threads: how many threads share a batch once its step is compiled (`fuse`); None: the processors of this
            process, each with at least 1024 users, as handing over takes its time.
        options: the world's own parameters and parts, see the domain's docstring: ``cold_start=0.5``,
            ``choice=Cascade()`` or ``choice={"kind": "Cascade"}``, ``candidates=50`` or ``candidates="all"``, ...

    Attributes:
        objectives: the names of the columns of ``info["objectives"]``, and of a vector reward: ``dict(zip(env.objectives,
            info["objectives"].T))`` has them by name.

    Raises:
        ConfigError: a parameter breaks a rule; the message gives parameter, rule, value and the nearest spelling.
    """

    metadata: dict[str, Any] = {
        "render_modes": list(RENDER_MODES),
        "render_fps": 2,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        world: World | str | os.PathLike[str] = "ecommerce",
        num_envs: int = 1,
        *,
        slate_size: int | None = None,
        action: str | None = None,
        observation: str = "flat",
        reward: dict[str, float] | Reward | Callable[..., Any] | str | None = None,
        like_dislike: bool = False,
        expected_reward: bool = False,
        null_action: bool | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        threads: int | None = None,
        **options: Any,
    ) -> None:
        num_envs = require_count("num_envs", num_envs, 1, 100_000_000)
        for name, flag in (("like_dislike", like_dislike), ("expected_reward", expected_reward)):
            require(isinstance(flag, bool), name, "must be True or False", flag)
        if not isinstance(autoreset_mode, AutoresetMode):
            require_option("autoreset_mode", autoreset_mode, [mode.value for mode in AutoresetMode])
            autoreset_mode = AutoresetMode(autoreset_mode)
        if render_mode is not None:
            require_option("render_mode", render_mode, RENDER_MODES)
        if threads is not None:
            threads = require_count("threads", threads, 1, 4096)
        if slate_size is not None:
            options["slate_size"] = slate_size
        self.vector_reward = isinstance(reward, str)
        if (parsed := _parse_reward(reward, like_dislike)) is not None:
            options["reward"] = parsed
        self.world, default_null = make_world(world, options, RecVectorEnv.__init__.__kwdefaults__ or ())
        self.actions = Actions(self.world, action if action is not None else ("item" if self.world.slate_size == 1 else "slate"),
                               default_null if null_action is None else null_action)  # fmt: skip
        self.observations = Observations(self.world, observation)
        self.reward = self.world.reward
        self.expected_reward = expected_reward
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "autoreset_mode": autoreset_mode}
        self.single_action_space = self.actions.space
        self.single_observation_space = self.observations.space
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.objectives = self.world.objectives
        M = len(self.objectives)
        self.reward_space = spaces.Box(-np.inf, np.inf, (M,), np.float32) if self.vector_reward else None
        self._own_reward = callable(self.reward) and not self.vector_reward
        self._whole = self._own_reward or render_mode is not None  # whether a step hands on all its feedback
        rule = "needs a reward that is a weighted sum of objectives"
        require(not (expected_reward and self._own_reward), "expected_reward", rule, self.reward)
        self._weights = None if callable(self.reward) else self.weights
        self._all = np.ones(num_envs, np.bool_)  # the masks of `info`: every user has what it holds
        self._all.flags.writeable = False
        self._present = {f"_{name}": self._all for name in (*INFO, "action_mask")}
        self._mode = autoreset_mode
        self._same = ("candidates",) if self.actions.static else ()
        self._threads = min(threads or max(1, min(processors(), num_envs // SHARE)), num_envs)
        self._state: Users | Packed | None = None  # packed once the step is fused
        self._fused: Fused | None = None
        self._work = 0  # steps so far, in steps of one user in a batch; the overhead of a step is worth some thirty
        self._terminated = np.zeros(num_envs, np.bool_)
        self._truncated = np.zeros(num_envs, np.bool_)
        self._any_done = False
        self._frames: list[Frame] = []

    @property
    def observation_layout(self) -> Layout:
        """Block name -> slice into the flat observation, shape, and the named parts of its last axis."""
        return self.observations.layout

    @property
    def weights(self) -> tuple[Array, float]:
        """(M,) float64 weights of the objectives in the reward, and that of each item shown.

        Raises:
            ConfigError: the reward is no weighted sum, but one with a `__call__`.
        """
        require(not callable(self.reward), "reward", "must be a weighted sum of objectives here", self.reward)
        return self.reward.weights(self.objectives)

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start episodes.

        Args:
            seed: row i gets the user of seed + i; or B seeds, a list or an array. None goes on to the next episode of
                the same users.
            options: ``{"reset_mask": (B,) bool}`` resets those rows only (the first time: all).

        Returns:
            Observations and info, which has the keys of `step`: ``action_mask`` (B, n) bool; of what a step brings zeros,
            and -1 for the slate. Both are of all rows; but for ``_action_mask``, the masks ``_objectives``, ``_slate``...
            (B,) bool say which rows were reset.

        Raises:
            ConfigError: a seed is no integer in [0, 2**64), or there are not B of them; `options` are unknown.
        """
        mask = self._reset_mask(options)
        if seed is None and self._state is None:
            seed = int(np.random.SeedSequence().generate_state(1, np.uint32)[0])
        if seed is not None:
            seeds = self._seeds(seed)
            keys = mix(seeds)
            super().reset(seed=seeds[0])
        users = self._users
        mask = None if users is None else mask  # the first time all rows are reset
        index = slice(None) if mask is None else np.flatnonzero(mask)
        if seed is not None:
            new = self.world.arrive(keys[index])
        else:
            assert users is not None
            new = self.world.arrive(users.key[index], users.episode[index] + 1)
        self._state = users = new if isinstance(index, slice) or users is None else users.put(index, new, self._same)
        going_on = mask is not None and ~mask  # nobody, where all are reset
        self._terminated = self._terminated & going_on
        self._truncated = self._truncated & going_on
        self._any_done = mask is not None and bool(self._terminated.any() or self._truncated.any())
        self._frames = []
        B, S, M = self.num_envs, self.world.slate_size, len(self.objectives)
        kinds = {"objectives": (M, F32), "slate": (S, I32), "click": (S, BOOL), "probability": (S, F32)}
        info: dict[str, Any] = {name: np.full((B, n), INFO[name], dtype) for name, (n, dtype) in kinds.items()}
        info["action_mask"] = self.actions.mask(users.candidates)
        info |= (
            self._present if mask is None else {**dict.fromkeys(self._present, mask.copy()), "_action_mask": self._all}
        )
        return self.observations.view(self._encoded(users)), info

    def _seeds(self, seed: Any) -> list[int]:
        """One a row; no sum of NumPy's integers, which wrap."""
        if isinstance(seed, np.ndarray):
            seed = seed.tolist()
        n, several = self.num_envs, isinstance(seed, (list, tuple, range))
        mix(seed if several else [seed])  # good seeds, or a ConfigError
        if several:
            require(len(seed) == n, "seed", f"a list must have one seed for each of {n} users", len(seed))
            return [int(one) for one in seed]
        require(int(seed) + n <= 2**64, "seed", f"must be at most 2**64 - {n} for {n} users", seed)
        return list(range(int(seed), int(seed) + n))

    @property
    def _users(self) -> Users | None:
        """The users, as arrays."""
        return None if self._state is None else self._state.unpacked()

    def _reset_mask(self, options: dict[str, Any] | None) -> Array | None:
        for name in options or {}:
            if name != "reset_mask":
                unknown("options", name, ["reset_mask"])
        mask = (options or {}).get("reset_mask")
        if mask is not None:
            fits = (
                isinstance(mask, np.ndarray)
                and mask.dtype == np.bool_
                and mask.shape == (self.num_envs,)
                and mask.any()
            )
            require(
                fits, "reset_mask", f"must be a bool array of shape ({self.num_envs},) with one True at least", mask
            )
        return mask

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """One step of every user.

        Returns:
            observations, rewards ((B,) float64, or (B, M) float32 for "vector"), terminated (left), truncated
            (horizon), and info: objectives (B, M) float32, in the order of the names `objectives`, slate (B, S) int32
            item ids, click (B, S) bool, probability (B, S) float32 marginal click probability, action_mask (B, n) bool
            of the next step, and for each a mask ``_objectives``, ``_slate``... (B,) bool, True and read-only; with
            "SameStep" also final_obs and final_info where an episode ended, of which observation and action_mask are
            the new episode's and the rest what its last step brought.

        Raises:
            SlateError: an action outside the space; nothing has changed then.
            ConfigError: no reset came before, or a reward of one's own is no finite number a user.
        """
        return self._advance(self.actions.batch(actions, self.num_envs))

    def _advance(self, actions: Array) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """A step by actions of `Actions.batch`."""
        if self._state is None:
            raise ConfigError("step: needs a reset first")
        fresh, self._work = self._work < FUSE_AFTER, self._work + self.num_envs + 30
        if fresh and self._work >= FUSE_AFTER:
            self.fuse()
        observation = np.empty((self.num_envs, self.observations.width), F32)
        before = self._state
        state, outcome = (self._fused or self._step)(before, actions, observation)
        terminated, truncated = outcome["left"], outcome["truncated"]
        status = _status(terminated, truncated, outcome["wrong"])
        if status == WRONG:
            self.actions.refuse(actions, outcome["wrong"])
        if self._own_reward:
            outcome["reward"] = paid(self.reward, Feedback.of(dict(outcome)), self.world.catalog, before.unpacked())
        reward = outcome["reward"]
        if self._any_done:  # a user that was done before takes no step in the modes NEXT_STEP and DISABLED
            index, old = np.flatnonzero(self._terminated | self._truncated), before.unpacked()
            for name, nothing in (("reward", 0), *INFO.items()):
                outcome[name][index] = nothing
            if self._mode is AutoresetMode.NEXT_STEP:
                new = self.world.arrive(old.key[index], old.episode[index] + 1)
                terminated[index] = truncated[index] = False
            else:
                new = old.rows(index)
                terminated[index], truncated[index] = self._terminated[index], self._truncated[index]
            state = self._replaced(state, index, new, old, outcome, observation)
        ended = self._any_done or status == ENDED
        mask = self.actions.mask(terminated) if self.actions.static else outcome["action_mask"]
        info: dict[str, Any] = {name: outcome[name] for name in INFO} | {"action_mask": mask, **self._present}
        if ended and self._mode is AutoresetMode.SAME_STEP:
            index, now = np.flatnonzero(terminated | truncated), state.unpacked()
            self._add_final(info, index, observation[index])
            new = self.world.arrive(now.key[index], now.episode[index] + 1)
            state = self._replaced(state, index, new, before.unpacked(), outcome, observation)
        elif ended:
            self._terminated, self._truncated = terminated.copy(), truncated.copy()
            self._any_done = bool(terminated.any() or truncated.any())
        self._state = state
        if self.render_mode is not None:
            feedback = Feedback.of({name: array.copy() for name, array in outcome.items()})
            self._frames.append(Frame(before.unpacked(), feedback, reward.copy(), state.unpacked()))
            if self._mode is not AutoresetMode.DISABLED:  # there a finished user's frames must wait for the others
                del self._frames[: -self.world.horizon - 1]
        return self.observations.view(observation), reward, terminated, truncated, info

    def _replaced(
        self, state: Users | Packed, index: Array, new: Users, before: Users, outcome: dict[str, Array], observation: Array
    ) -> Users | Packed:  # fmt: skip
        """Other users in some rows after a step, with what is seen of them."""
        observation[index] = self._encoded(new)
        if not self.actions.static:
            outcome["action_mask"][index] = self.actions.mask(new.candidates)
        return state.put(index, new, self._same, before)

    def _encoded(self, users: Users) -> Array:
        """Their flat observations."""
        flat = np.empty((len(users), self.observations.width), F32)
        self.observations.encode(users, flat)
        return flat

    def _step(self, state: Users | Packed, actions: Array, observation: Array) -> tuple[Users, dict[str, Array]]:
        """One step as kernels and copies alone, which `fuse` can record; fills `observation`.

        Returns:
            The users and what came of it: what `step` returns and `wrong` (B,) bool, actions outside the space; all
            feedback where it is rendered or a reward of one's own, which comes later, looks at it.
        """
        world, users = self.world, state.unpacked()
        slate, wrong = self.actions.decode(actions, users.candidates)
        after, feedback = world.advance(users, slate, world.noise(users))
        objectives = feedback.objectives
        if self.expected_reward:
            known = len(world.response.objectives)
            objectives = np.concatenate(
                [world.expected(users, slate)[:, :known], objectives[:, known:]], axis=1, dtype=np.float32
            )
        outcome = dict(feedback.__dict__) if self._whole else {name: feedback[name] for name in (*INFO, "left")}
        if self.vector_reward:
            outcome["reward"] = copied(objectives)
        elif self._weights is not None:
            outcome["reward"] = pay(objectives, slate, *self._weights)
        outcome["wrong"] = wrong
        outcome["truncated"] = truncated = empty(feedback.left.shape, BOOL)
        _truncate(truncated, feedback.left, after.t, world.horizon)
        if not self.actions.static:
            outcome["action_mask"] = self.actions.mask(after.candidates)
        self.observations.encode(after, observation)
        return after, outcome

    def fuse(self) -> bool:
        """Compile the step into one call, see `recgym.fusion`: the same numbers to the last bit, some times as fast.

        An env does so by itself once it has been at work for a second or so. Compiling takes some seconds; what was
        compiled once is read from disk.

        Returns:
            Whether it could: the parts must be recgym's, or say `fusable`, and the reward a realised one. A reward of
            one's own is no part of the compiled step.
        """
        if self._fused is not None:
            return True
        parts = [part for part in self.world.parts if part is not self.reward]
        if not COMPILES or not all(part.fusable for part in parts) or self.expected_reward:
            return False
        try:
            self._fused = Fused(self._step, self._example, self._threads)
        except NotFusable as reason:
            warnings.warn(f"the step of this world stays as it is, in Python: {reason}", stacklevel=3)
            return False
        return True

    def _example(self, n: int) -> tuple[Users, Array, Array]:
        """Arguments of `_step` for n made-up users."""
        space = gym.vector.utils.batch_space(self.single_action_space, n)
        space.seed(0)
        users = self.world.arrive(mix(range(n)))
        return users, self.actions.batch(space.sample(), n), np.empty((n, self.observations.width), F32)

    def _add_final(self, info: dict[str, Any], index: Array, observation: Array) -> None:
        """Gymnasium's `final_obs` and `final_info` of the users of those rows, whose episode has ended."""
        mask = np.zeros(self.num_envs, np.bool_)
        mask[index] = True
        final_obs = np.full(self.num_envs, None, dtype=object)
        for row, flat in zip(index, observation, strict=True):
            final_obs[row] = self.observations.view(flat)
        final_info = {name: array.copy() for name, array in info.items() if name not in self._present}
        final_info["action_mask"] = final_info["action_mask"] & mask[:, None]
        info |= {"final_obs": final_obs, "_final_obs": mask,
                 "final_info": final_info | {f"_{name}": mask.copy() for name in final_info}, "_final_info": mask.copy()}  # fmt: skip

    def action_masks(self) -> Array:
        """(B, n) bool of the current step, or (B, S * n) for slates: sb3-contrib's convention."""
        users = self._users
        require(users is not None, "action_masks", "needs a reset first", "none")
        assert users is not None
        mask = self.actions.mask(users.candidates)
        return np.tile(mask, self.world.slate_size) if self.actions.form == "slate" else mask

    def get_state(self) -> EnvState:
        """A snapshot; arrays are shared, as nothing ever writes to them."""
        users = self._users
        require(users is not None, "get_state", "needs a reset first", "none")
        assert users is not None
        return EnvState(users, self._terminated.copy(), self._truncated.copy())

    def set_state(self, state: EnvState) -> None:
        """Go back (or on) to a snapshot of an env with the same world and number of users.

        Raises:
            ConfigError: it is of another world or number of users; its arrays are not what `get_state` gives, or hold
                what cannot be; someone's episode has ended, which "SameStep" does not know. Nothing has changed then.
        """
        n = self.num_envs
        require(isinstance(state, EnvState), "state", "must be an EnvState, as `get_state` gives", state)
        try:
            self.world.check_users(state.users)
        except ConfigError as error:
            raise ConfigError(f"state: must be one of this world: {error}") from None
        require(len(state.users) == n, "state", f"must hold {n} users", len(state.users))
        if self.actions.static:
            fits = (state.users.candidates == np.arange(self.world.sizes.items)).all()
            require(fits, "state.users.candidates", "must be all items in their order", state.users.candidates)
        for name, done in (("terminated", state.terminated), ("truncated", state.truncated)):
            fits = isinstance(done, np.ndarray) and done.dtype == np.bool_ and done.shape == (n,)
            require(fits, f"state.{name}", f"must be a bool array of shape ({n},)", done)
        both = state.terminated & state.truncated
        require(not both.any(), "state", "must have nobody both terminated and truncated", np.flatnonzero(both))
        ended = np.flatnonzero(state.terminated | state.truncated)
        rule = 'must have nobody whose episode has ended, as "SameStep" begins another at once'
        require(not len(ended) or self._mode is not AutoresetMode.SAME_STEP, "state", rule, ended)
        plain = {
            name: np.require(array, requirements=["C", "A", "W", "E"]) for name, array in state.users.__dict__.items()
        }
        self._state = Users.of(plain)
        self._terminated, self._truncated = state.terminated.copy(), state.truncated.copy()
        self._any_done = bool(len(ended))
        self._frames = []

    def render(self) -> tuple[Any, ...] | None:
        """A frame of each user since its last reset: text for "ansi", (height, width, 3) uint8 for "rgb_array"."""
        if self.render_mode is None:
            return None
        users = self._users
        return tuple(render(self.world, self._frames, row, self.render_mode, users) for row in range(self.num_envs))

    def frame(self, row: int, reasons: Reasons | None = None) -> Any:
        """What `render` gives of one user, with an agent's reasons beside it where given (see `baselines.explain`).

        Raises:
            ConfigError: the env renders nothing, there is no such row, or reasons come before a reset.
        """
        require(
            self.render_mode is not None, "render_mode", 'must be "ansi" or "rgb_array" for frames', self.render_mode
        )
        require_count("row", row, 0, self.num_envs - 1)
        require(self._state is not None or reasons is None, "reasons", "need a reset first", "none")
        return render(self.world, self._frames, row, str(self.render_mode), self._users, reasons)

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the threads."""
        fused = getattr(self, "_fused", None)  # Gymnasium before 1.4 also closes what could not be made
        if fused is not None:
            fused.close()


class RecEnv(_Specified, gym.Env):
    """One user: a `RecVectorEnv` of one row, whose arguments these are (but for `num_envs` and `autoreset_mode`).

    ``dict(zip(env.objectives, info["objectives"]))`` has the objectives of a step by name.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 2}

    def __init__(
        self, world: World | str | os.PathLike[str] = "ecommerce", *, render_mode: str | None = None, **options: Any
    ) -> None:
        for name in ("num_envs", "autoreset_mode"):
            require(
                name not in options,
                name,
                "is an argument of the vector env only (gymnasium.make_vec)",
                options.get(name),
            )
        self.batch = RecVectorEnv(world, 1, render_mode=render_mode, autoreset_mode=AutoresetMode.DISABLED, **options)
        self.world = self.batch.world
        self.objectives = self.batch.objectives
        self.action_space = self.batch.single_action_space
        self.observation_space = self.batch.single_observation_space
        self.render_mode = render_mode
        if self.batch.reward_space is not None:
            self.reward_space = self.batch.reward_space

    @property
    def observation_layout(self) -> Layout:
        """Block name -> slice into the flat observation, shape, and the named parts of its last axis."""
        return self.batch.observation_layout

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode: of the user of that seed, or the next one of the same user.

        Returns:
            The observation and info, which has the keys of `step`: zeros, and -1 for the slate.

        Raises:
            ConfigError: the seed is no integer in [0, 2**64); there are options.
        """
        for name in options or {}:
            unknown("options", name, [])
        seeds = None if seed is None else self.batch._seeds(seed)
        super().reset(seed=None if seeds is None else seeds[0])
        observation, info = self.batch.reset(seed=seeds)
        return _first(observation), self._info(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step; see `RecVectorEnv.step`. A finished episode must be reset first.

        Raises:
            SlateError: an action outside the space; nothing has changed then.
            ConfigError: no reset came before, or a reward of one's own is no finite number.
        """
        batch = self.batch
        if batch._any_done:
            raise ConfigError("step: the episode has ended, reset first")
        actions = batch.actions.batch(action, None)
        if batch._fused is not None and batch._state is not None and not batch._whole:
            return self._quick(batch._fused, batch._state, actions)
        observation, reward, terminated, truncated, info = batch._advance(actions)
        reward = reward[0] if batch.vector_reward else float(reward[0])
        return _first(observation), reward, bool(terminated[0]), bool(truncated[0]), self._info(info)

    def _quick(
        self, fused: Fused, state: Users | Packed, actions: Array
    ) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """The same by a fused step, without an array of one row for each number."""
        batch = self.batch
        flat = np.empty((1, batch.observations.width), F32)
        after, outcome = fused.run(state, actions, flat)
        row = fused.layout.row(outcome)
        if row["wrong"]:
            batch.actions.refuse(actions, np.ones(1, BOOL))
        batch._state = after
        terminated, truncated = row["left"], row["truncated"]
        if terminated or truncated:
            batch._terminated[0], batch._truncated[0], batch._any_done = terminated, truncated, True
        info = {name: row[name] for name in INFO}
        info["action_mask"] = batch.actions.mask(flat)[0].copy() if batch.actions.static else row["action_mask"]
        return batch.observations.view(flat[0]), row["reward"], terminated, truncated, info

    def fuse(self) -> bool:
        """Compile the step, see `RecVectorEnv.fuse`."""
        return self.batch.fuse()

    def _info(self, info: dict[str, Any]) -> dict[str, Any]:
        first = {name: info[name][0] for name in (*INFO, "action_mask")}
        if self.batch.actions.static:  # one array for all steps, which a single env's info must not share
            first["action_mask"] = first["action_mask"].copy()
        return first

    def action_masks(self) -> Array:
        """(n,) bool, or (S * n,) for slates: what sb3-contrib's MaskablePPO asks for."""
        return self.batch.action_masks()[0]

    def get_state(self) -> EnvState:
        """A snapshot, see `RecVectorEnv.get_state`."""
        return self.batch.get_state()

    def set_state(self, state: EnvState) -> None:
        """Go back to a snapshot."""
        self.batch.set_state(state)

    def render(self) -> Any:
        """Text for "ansi", (height, width, 3) uint8 for "rgb_array"."""
        frames = self.batch.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Nothing to release."""
        self.batch.close()


@kernel
def _truncate(truncated, terminated, t, horizon):
    """Marks who reached the horizon without leaving."""
    for b in range(t.shape[0]):
        truncated[b] = t[b] >= horizon and not terminated[b]


@kernel
def _status(terminated, truncated, wrong):
    """WRONG where an action lies outside the space, ENDED where an episode ended, else 0."""
    status = 0
    for b in range(terminated.shape[0]):
        if wrong[b]:
            return WRONG
        if terminated[b] or truncated[b]:
            status = ENDED
    return status


def _first(batch: Any) -> Any:
    return {name: value[0] for name, value in batch.items()} if isinstance(batch, dict) else batch[0]


def _parse_reward(reward: Any, like_dislike: bool) -> Reward | None:
    """The Reward that was asked for; None: the world's own."""
    require(not (like_dislike and reward is not None), "like_dislike", "excludes reward", reward)
    if isinstance(reward, str):
        require_option("reward", reward, ["vector"])
    if like_dislike:
        return LikeDislike()
    if reward is None or isinstance(reward, (str, Reward)):
        return reward if isinstance(reward, Reward) else None
    if isinstance(reward, dict):
        return Reward.from_dict(reward, where="reward") if "kind" in reward else Weighted(reward)
    is_function = callable(reward) and not isinstance(reward, (type, Component))
    require(is_function, "reward", 'must be weights by objective, a Reward, a function or "vector"', reward)
    return RewardFunction(reward)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def processors() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
