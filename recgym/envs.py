"""The environments: `RecVectorEnv`, a batch of users, and `RecEnv`, a single user."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from recgym.actions import Action
from recgym.compat import AutoresetMode
from recgym.component import Component
from recgym.errors import ConfigError, require, require_count, require_option, unknown
from recgym.models.reward import LikeDislike, Reward, RewardFunction, Weighted
from recgym.noise import mix
from recgym.observations import Layout, Observation
from recgym.render import RENDER_MODES, Frame, Reasons, Session, render, session_of
from recgym.spec import Specified
from recgym.stepper import Stepper, some_end
from recgym.types import BOOL, F32, I32, Array, Feedback, Users
from recgym.world import World
from recgym.worlds import make_world

# What `info` has of the feedback, and what stands there where no step was taken.
INFO = {"objectives": 0, "slate": -1, "click": False, "probability": 0}
I8 = np.dtype(np.int8)  # a dtype made once: `view` is twice as fast by it
DEVICES = ("cpu", "cuda")
ROWWISE = ("action_masks", "render")  # methods of a vector env that return one thing per user


class EnvState(NamedTuple):
    """A snapshot of a vector env: `get_state` takes it, `set_state` restores it. Replace `users.key` for other futures."""

    users: Users
    terminated: Array  # (B,) bool
    truncated: Array  # (B,) bool


class RecVectorEnv(Specified, VectorEnv):  # pyright: ignore[reportIncompatibleVariableOverride]
    """B independent users of one World, stepped together.

    Row i of a batch reset with seed s is, bit for bit, the single environment reset with seed s + i.

    Args:
        world: a World, the name of one (see `recgym.worlds`), or a folder written by `World.save`. Whoever writes the `spec`
            of an env as JSON, as Minari does, can make it again from a name or a folder, but not from a World: save that
            and pass the folder.
        num_envs: B >= 1.
        slate_size: S >= 1; None leaves the world's.
        action: "item", "slate", "embedding", "weights" or a form of your own, see `recgym.actions`; None: "item" where S = 1, else
            "slate".
        observation: "flat", "dict", "latent", "compact" or a form of your own, see `recgym.observations`.
        reward: objective -> weight, a Reward, or a function ``(feedback, catalog, users) -> (B,)``, see
            `recgym.models.reward`; "vector" pays all objectives, (M,) per step; None: the world's own.
        like_dislike: pay +1 for a clicked and -1 for an ignored item instead.
        expected_reward: pay E[reward | state, slate] instead of the realised one: less noise to learn from. The
            objectives of the departure depend on the realised outcome, so that their realised values are paid. The
            reward must be a weighted sum of objectives.
        null_action: whether recommending nothing is an action; None: the world's default.
        autoreset_mode: "NextStep", "SameStep" or "Disabled" (`gymnasium.vector.AutoresetMode`). With "Disabled" a
            finished user stays as it is, paying 0, until ``reset(options={"reset_mask": mask})``.
        render_mode: None, "ansi" or "rgb_array".
        device: "cpu", or "cuda" for users that live on an NVIDIA GPU, see `recgym.cuda_env`; it needs ``pip install
            "recgym[cuda]"``.
        threads: how many threads share a batch once its step is compiled (`fuse`); None: the processors of this
            process, each with at least 128 users, because handing work to a thread costs time.
        options: the world's own parameters and parts, see the domain's docstring: ``cold_start=0.5``,
            ``choice=Cascade()`` or ``choice={"kind": "Cascade"}``, ``candidates=50`` or ``candidates="all"``, ...

    Attributes:
        objectives: the names of the columns of ``info["objectives"]``, and of a vector reward: ``dict(zip(env.objectives,
            info["objectives"].T))`` has them by name.
        actions, observations: the forms, which decode and encode; see `recgym.actions.Action` and
            `recgym.observations.Observation`.
        stepper: the users and their step, see `recgym.stepper.Stepper`.
        autoreset_mode: of `gymnasium.vector.AutoresetMode`; ``metadata["autoreset_mode"]`` has it, too.
        options: the arguments that say what is simulated, seen and paid: ``RecVectorEnv(num_envs=n, **env.options)`` is
            the same environment for n other users.

    Raises:
        ConfigError: a parameter breaks a rule; the message gives parameter, rule, value and the nearest spelling.
        OptionError: there is no such argument; it is a ConfigError and a TypeError.
    """

    metadata: dict[str, Any] = {
        "render_modes": list(RENDER_MODES),
        "render_fps": 2,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __new__(cls, *_: Any, device: Any = "cpu", **__: Any) -> RecVectorEnv:
        made: Any = cls
        if device == "cuda":
            from recgym.cuda_env import CudaVectorEnv

            fits = cls in (RecVectorEnv, CudaVectorEnv)
            require(fits, "device", 'must be "cpu" for a subclass of RecVectorEnv', device)
            made = CudaVectorEnv
        return super().__new__(made)

    def __init__(
        self,
        world: World | str | os.PathLike[str] = "ecommerce",
        num_envs: int = 1,
        *,
        slate_size: int | None = None,
        action: str | Callable[..., Action] | None = None,
        observation: str | Callable[..., Observation] = "flat",
        reward: dict[str, float] | Reward | Callable[..., Any] | str | None = None,
        like_dislike: bool = False,
        expected_reward: bool = False,
        null_action: bool | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        threads: int | None = None,
        device: str = "cpu",
        **options: Any,
    ) -> None:
        require_option("device", device, DEVICES)
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
        own_reward = callable(self.world.reward) and not self.vector_reward
        rule = "needs a reward that is a weighted sum of objectives"
        require(not (expected_reward and own_reward), "expected_reward", rule, self.world.reward)
        action = action if action is not None else ("item" if self.world.slate_size == 1 else "slate")
        null_action = default_null if null_action is None else null_action
        self.actions = Action.made(action, "action", self.world, null_action)
        self.observations = Observation.made(observation, "observation", self.world)
        fits = self.actions.world is self.world and self.actions.null == null_action
        require(fits, "action", "must make a form of the world and the null_action that it is given", self.actions)
        require(
            self.observations.world is self.world,
            "observation",
            "must make a form of the world that it is given",
            self.observations,
        )
        self.stepper = Stepper(self.world, self.actions, self.observations, num_envs, vector_reward=self.vector_reward,
                               expected_reward=expected_reward, all_feedback=render_mode is not None, threads=threads)  # fmt: skip
        self.reward = self.world.reward
        self.expected_reward = expected_reward
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.options: dict[str, Any] = dict(
            world=self.world, action=action, null_action=null_action, observation=observation,
            reward="vector" if self.vector_reward else self.reward, expected_reward=expected_reward,
        )  # fmt: skip
        self.metadata = {**self.metadata, "autoreset_mode": autoreset_mode}
        self.single_action_space = self.actions.space
        self.single_observation_space = self.observations.space
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.objectives = self.world.objectives
        S, M = self.world.slate_size, len(self.objectives)
        kinds = {"objectives": (M, F32), "slate": (S, I32), "click": (S, BOOL), "probability": (S, F32)}
        self._nothing = {name: np.full((num_envs, n), INFO[name], dtype) for name, (n, dtype) in kinds.items()}
        self.reward_space = spaces.Box(-np.inf, np.inf, (M,), np.float32) if self.vector_reward else None
        self._all = np.ones(num_envs, np.bool_)  # the masks of `info`: every entry holds for every user
        self._all.flags.writeable = False
        self._present = {f"_{name}": self._all for name in (*INFO, "action_mask")}
        self.autoreset_mode = autoreset_mode
        self._frames: list[Frame] = []

    @property
    def observation_layout(self) -> Layout:
        """Block name -> slice into the flat observation, shape, and the named parts of its last axis."""
        return self.observations.layout

    @property
    def weights(self) -> tuple[Array, float]:
        """(M,) float64 weights of the objectives in the reward, and that of each item shown.

        Raises:
            ConfigError: the reward is not a weighted sum but has a `__call__`.
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
            Observations and info, both of all rows. Info has the keys of `step`: ``action_mask`` (B, n) int8, and what a
            step would fill: zeros, and -1 for the slate. The masks ``_objectives``, ``_slate``... (B,) bool say which rows
            were reset; ``_action_mask`` is True for all.

        Raises:
            ConfigError: a seed is not an integer in [0, 2**64), or there are not B of them; `options` are unknown.
        """
        mask = self._reset_mask(options)
        stepper, state = self.stepper, self.stepper.state
        if state is None:
            mask = None  # the first time all rows are reset
            seed = int(np.random.SeedSequence().generate_state(1, np.uint32)[0]) if seed is None else seed
        rows = None if mask is None else np.flatnonzero(mask)
        index = slice(None) if rows is None else rows
        if seed is not None:
            seeds = self._seeds(seed)
            super().reset(seed=seeds[0])
            keys = mix(seeds)[index]
            new = stepper.arrive(keys, np.zeros(len(keys), I32))
        else:
            assert state is not None
            new = stepper.arrive(state["key"][index], state["episode"][index] + 1)
        stepper.begin(new.users, rows)
        self._frames = []
        info: dict[str, Any] = {name: array.copy() for name, array in self._nothing.items()}
        if rows is not None:
            new = stepper.seen(self._users("reset"))
        info["action_mask"] = _as_int8(self.actions.mask(new.observation) if new.mask is None else new.mask)
        info |= (
            self._present if mask is None else {**dict.fromkeys(self._present, mask.copy()), "_action_mask": self._all}
        )
        return self.observations.view(new.observation), info

    def _seeds(self, seed: Any) -> list[int]:
        """One seed per row, as Python's integers: sums of NumPy's wrap around."""
        if isinstance(seed, np.ndarray):
            seed = seed.tolist()
        n, several = self.num_envs, isinstance(seed, (list, tuple, range))
        mix(seed if several else [seed])  # good seeds, or a ConfigError
        if several:
            require(len(seed) == n, "seed", f"a list must have one seed for each of {n} users", len(seed))
            return [int(one) for one in seed]
        require(int(seed) + n <= 2**64, "seed", f"must be at most 2**64 - {n} for {n} users", seed)
        return list(range(int(seed), int(seed) + n))

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

        With ``mask = info["action_mask"]``, random actions among the candidates that are there are
        ``action_space.sample(tuple(mask))`` for items, and for slates, whose batch is a Box that takes no masks,
        ``np.stack([single_action_space.sample((row,) * S) for row in mask])``.

        Returns:
            observations, rewards ((B,) float64, or (B, M) float32 for "vector"), terminated (left), truncated
            (horizon), and info: objectives (B, M) float32, in the order of the names `objectives`, slate (B, S) int32
            item ids, click (B, S) bool, probability (B, S) float32 marginal click probability, action_mask (B, n) int8
            of the next step, 1 for a choice that shows a candidate (or nothing), and for each a mask ``_objectives``, ``_slate``... (B,) bool, True and read-only; with
            "SameStep" also final_obs and final_info where an episode ended. For these users the observation and
            action_mask returned belong to the new episode, and all else to the last step of the old one.

        Raises:
            SlateError: an action outside the space; nothing has changed then.
            ConfigError: no reset came before, or a reward of your own does not give a finite number for each user.
        """
        return self.advance(self.actions.batch(actions, self.num_envs))

    def advance(self, actions: Array) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """`step` by actions that `Action.batch` has checked."""
        stepper, mode = self.stepper, self.autoreset_mode
        terminated_before, truncated_before, waiting = stepper.terminated, stepper.truncated, stepper.ended
        stepped = stepper.step(actions)
        before, outcome, observation = stepped
        reward, terminated, truncated = outcome["reward"], outcome["left"], outcome["truncated"]
        if waiting:  # a user that was done before takes no step in the modes NEXT_STEP and DISABLED
            rows = np.flatnonzero(terminated_before | truncated_before)
            stepper.idle(rows, outcome)
            if mode is AutoresetMode.NEXT_STEP:
                new = stepper.arrive(before["key"][rows], before["episode"][rows] + 1)
                terminated[rows] = truncated[rows] = False
            else:
                new = stepper.seen(before.unpacked().rows(rows))
                terminated[rows], truncated[rows] = terminated_before[rows], truncated_before[rows]
            stepper.replace(rows, new, stepped)
        mask = self.actions.mask(terminated) if self.actions.static else outcome["action_mask"]
        info: dict[str, Any] = {name: outcome[name] for name in INFO} | {
            "action_mask": _as_int8(mask),
            **self._present,
        }
        if waiting or some_end(terminated, truncated):
            if mode is AutoresetMode.SAME_STEP:
                rows, after = np.flatnonzero(terminated | truncated), stepper.state
                assert after is not None
                self._add_final(info, rows, observation[rows])
                new = stepper.arrive(after["key"][rows], after["episode"][rows] + 1)
                stepper.replace(rows, new, stepped)
            else:
                stepper.mark(terminated.copy(), truncated.copy())
        if self.render_mode is not None:
            assert stepper.state is not None
            feedback = Feedback.of({name: array.copy() for name, array in outcome.items()})
            self._frames.append(Frame(before.unpacked(), feedback, reward.copy(), stepper.state.unpacked()))
            if mode is not AutoresetMode.DISABLED:  # there a finished user's frames must wait for the others
                del self._frames[: -self.world.horizon - 1]
        return self.observations.view(observation), reward, terminated, truncated, info

    def fuse(self) -> bool:
        """Compile the step into one call, see `recgym.fusion`: the same numbers to the last bit, several times as fast.

        An env does so by itself once it has been at work for a second or so. Compiling takes some seconds; what was
        compiled once is read from disk.

        Returns:
            Whether it could: parts that are not recgym's must say `fusable`, and `expected_reward` must be off. A reward
            of your own stays outside the compiled step, in Python.
        """
        return self.stepper.fuse()

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
        return self.actions.space_mask(self.actions.mask(self._users("action_masks").candidates))

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """What a method or an attribute gives of each user, (B,) of them, as Gymnasium's own vector envs have it.

        Users share one env. A method of `ROWWISE` gives each user a row of its own, a space is that of a single user, and all
        else is the same for everybody.

        Raises:
            AttributeError: the env has nothing of this name. ConfigError: the method changes all users at once.
        """
        rule = "must not be of all users at once; call it on the env itself"
        require(name not in ("reset", "step", "advance", "get_state", "set_state", "close"), "name", rule, name)
        value = getattr(self, f"single_{name}" if name in ("action_space", "observation_space") else name)
        if inspect.ismethod(value):
            value = value(*args, **kwargs)
        return tuple(value) if name in ROWWISE and value is not None else (value,) * self.num_envs

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of each user, see `call`."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of the env that the users share.

        Args:
            values: the value, or a list or tuple of B of them that are all the same.

        Raises:
            ConfigError: there are not B of them, or they differ.
        """
        if isinstance(values, (list, tuple)):
            same = len(values) == self.num_envs and all(np.array_equal(one, values[0]) for one in values)
            require(
                same, "values", f"must be one, or {self.num_envs} that are the same, for users share one env", values
            )
            values = values[0]
        setattr(self, name, values)

    def get_state(self) -> EnvState:
        """A snapshot; arrays are shared, as nothing ever writes to them."""
        stepper = self.stepper
        return EnvState(self._users("get_state"), stepper.terminated.copy(), stepper.truncated.copy())

    def _users(self, what: str) -> Users:
        users = self.stepper.users
        require(users is not None, what, "needs a reset first", "none")
        assert users is not None
        return users

    def set_state(self, state: EnvState) -> None:
        """Go back (or on) to a snapshot of an env with the same world and number of users.

        Raises:
            ConfigError: it is of another world or number of users; its arrays are not what `get_state` gives, or hold
                impossible values; someone's episode has ended, which "SameStep" does not know. Nothing has changed then.
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
        require(not len(ended) or self.autoreset_mode is not AutoresetMode.SAME_STEP, "state", rule, ended)
        plain = {
            name: np.require(array, requirements=["C", "A", "W", "E"]) for name, array in state.users.__dict__.items()
        }
        self.stepper.begin(Users.of(plain))
        self.stepper.mark(state.terminated.copy(), state.truncated.copy())
        self._frames = []

    def render(self) -> tuple[Any, ...] | None:
        """A frame of each user since its last reset: text for "ansi", (height, width, 3) uint8 for "rgb_array"."""
        if self.render_mode is None:
            return None
        users = self.stepper.users
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
        users = self.stepper.users
        require(users is not None or reasons is None, "reasons", "need a reset first", "none")
        return render(self.world, self._frames, row, str(self.render_mode), users, reasons)

    def session(self, row: int = 0) -> Session:
        """What `render` draws of one user, as data: the steps of the episode, with the state before and after each.

        Raises:
            ConfigError: the env renders nothing, so that nothing is kept, or there is no such row.
        """
        rule = 'must be "ansi" or "rgb_array" for steps to be kept'
        require(self.render_mode is not None, "render_mode", rule, self.render_mode)
        require_count("row", row, 0, self.num_envs - 1)
        if self._frames:
            return session_of(self.world, self._frames, row)
        users = self.stepper.users
        return Session(self.world, [], None if users is None else users.rows(row), np.zeros(0), "")

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the threads."""
        stepper = getattr(
            self, "stepper", None
        )  # missing where the constructor failed: Gymnasium before 1.4 closes such an env, too
        if stepper is not None:
            stepper.close()


class RecEnv(Specified, gym.Env):  # pyright: ignore[reportIncompatibleVariableOverride]
    """One user: a `RecVectorEnv` of one row. It takes the same arguments, except `num_envs` and `autoreset_mode`.

    ``dict(zip(env.objectives, info["objectives"]))`` has the objectives of a step by name.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 2}

    def __init__(
        self, world: World | str | os.PathLike[str] = "ecommerce", *, render_mode: str | None = None, **options: Any
    ) -> None:
        for name in ("num_envs", "autoreset_mode", "device"):
            require(
                name not in options,
                name,
                "is an argument of the vector env only (gymnasium.make_vec)",
                options.get(name),
            )
        self.batch = RecVectorEnv(world, 1, render_mode=render_mode, autoreset_mode=AutoresetMode.DISABLED, **options)
        self.world = self.batch.world
        self.options = self.batch.options
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
            ConfigError: the seed is not an integer in [0, 2**64), or options are given.
        """
        for name in options or {}:
            unknown("options", name, [])
        seeds = None if seed is None else self.batch._seeds(seed)
        super().reset(seed=None if seeds is None else seeds[0])
        observation, info = self.batch.reset(seed=seeds)
        return _first(observation), self._info(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step; see `RecVectorEnv.step`. A finished episode must be reset first.

        A random action among the candidates that are there is ``action_space.sample(info["action_mask"])`` for an item, and
        ``action_space.sample((info["action_mask"],) * S)`` for a slate.

        Raises:
            SlateError: an action outside the space; nothing has changed then.
            ConfigError: no reset came before, or a reward of your own does not give a finite number.
        """
        batch, stepper = self.batch, self.batch.stepper
        if stepper.ended:
            raise ConfigError("step: the episode has ended, reset first")
        actions = batch.actions.batch(action, None)
        if not stepper.quick:
            observation, reward, terminated, truncated, info = batch.advance(actions)
            reward = reward[0] if batch.vector_reward else float(reward[0])
            return _first(observation), reward, bool(terminated[0]), bool(truncated[0]), self._info(info)
        numbers, record, flat = stepper.step_row(actions)
        info: dict[str, Any] = {
            "objectives": record["objectives"],
            "slate": record["slate"],
            "click": record["click"],
            "probability": record["probability"],
            "action_mask": _as_int8(
                batch.actions.mask(flat)[0].copy() if batch.actions.static else record["action_mask"]
            ),
        }
        reward = record["reward"] if batch.vector_reward else numbers["reward"]
        return batch.observations.view(flat[0]), reward, numbers["left"], numbers["truncated"], info

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
        """Stop the threads."""
        self.batch.close()


def _as_int8(mask: Array) -> Array:
    """Booleans as the 0 and 1 of type int8 that Gymnasium's ``space.sample(mask)`` takes, in the same memory."""
    return mask.view(I8)


def _first(batch: Any) -> Any:
    """The observation of the first user."""
    if isinstance(batch, dict):
        return {name: _first(value) for name, value in batch.items()}
    return tuple(map(_first, batch)) if isinstance(batch, tuple) else batch[0]


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
