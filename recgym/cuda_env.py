"""`CudaVectorEnv`: a `RecVectorEnv` whose users live on an NVIDIA GPU.

    env = gymnasium.make_vec("recgym/EcommerceSlate-v0", num_envs=65536, device="cuda", autoreset_mode="SameStep")
    observation, info = env.reset(seed=0)
    while True:
        seen = torch.from_dlpack(observation)  # on the device, without a copy
        action = agent(seen)  # a tensor on the device
        observation, reward, terminated, truncated, info = env.step(action)

The step and the arrival of users are the programs of `recgym.recording` as kernels, see `recgym.cuda`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from recgym.compat import AutoresetMode
from recgym.cuda import SIMULATED, THREADS, U8, Source, column, columns, load, on_device, require_cuda
from recgym.device import DeviceArray, Piece, Pool
from recgym.envs import I8, INFO, EnvState, RecVectorEnv
from recgym.errors import ConfigError, SlateError, require
from recgym.noise import mix
from recgym.observations import DictObservation, Observation
from recgym.packed import Layout
from recgym.recording import NotFusable, Program
from recgym.stepper import Stepper
from recgym.types import F32, Array, Users

CHECK_EVERY = 128  # steps after which actions from the device are known to have been in the space
ROOM = 500_000  # bytes of local memory; CUDA has 512 KB for each thread
MODES = (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP)


class CudaVectorEnv(RecVectorEnv):
    """B users of one World on a GPU. It is made by ``RecVectorEnv(..., device="cuda")``, with the same arguments.

    What it computes is what a `RecVectorEnv` computes: users get the same random numbers, to the bit. Floats agree to about
    1e-4 over a hundred steps, as a GPU has other last digits; now and then a click hangs on one of these.

    Observations, rewards, flags and the arrays of `info` are `recgym.device.DeviceArray`; each step has its own. `step` takes
    an array on the device, anything with ``__cuda_array_interface__`` such as a torch tensor, or whatever `RecVectorEnv.step`
    takes. It neither waits for the device nor copies from it: an action from the device that lies outside the space counts as
    the lowest action of the space, until `check` raises the error. `reset`, `get_state` and every 128th step do so.

    Modes are "SameStep" and "NextStep". `info` has objectives, slate, click, probability and action_mask as on the CPU, but
    none of the masks ``_objectives``, ``_slate``..., which are True. With "SameStep" it always has ``final_obs``, (B, width),
    which holds the last observation of the users for whom `terminated` or `truncated` is True, and anything for others; there
    is no ``final_info``, since the other arrays are those of the last step of the old episode.

    The first reset compiles two kernels, which takes about ten seconds; environments of the same parts share them.

    Raises:
        ConfigError: numba-cuda or a device is missing; or `expected_reward`, `render_mode`, the mode "Disabled", a reward that
            is a function, or a part that cannot be recorded was asked for.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        require_cuda()
        super().__init__(*args, **options)
        stepper, world, B = self.stepper, self.world, self.num_envs
        rule = 'must be left out with device="cuda"'
        require(not self.expected_reward, "expected_reward", rule, True)
        require(self.render_mode is None, "render_mode", rule, self.render_mode)
        rule = 'must be a weighted sum of objectives with device="cuda"'
        require(stepper.own_reward is None, "reward", rule, world.reward)
        rule = f'must be {" or ".join(repr(mode.value) for mode in MODES)} with device="cuda"'
        require(self.autoreset_mode in MODES, "autoreset_mode", rule, self.autoreset_mode.value)
        parts = [part for part in (*world.parts, self.actions, self.observations) if part is not world.reward]
        alien = [type(part).__name__ for part in parts if not part.fusable]
        require(not alien, "device", '"cuda" needs parts that say `fusable = True`', alien)
        rule = 'must have one axis at most with device="cuda"'
        require(len(self.actions.shape) <= 1, "action", rule, self.actions.form)
        flat = type(self.observations).view is Observation.view or isinstance(self.observations, DictObservation)
        require(flat, "observation", 'must not have a `view` of its own with device="cuda"', self.observations.form)
        try:
            step = Program(stepper.plain, stepper.example)
            self.sources = step_source(step), arrival_source(stepper, step, self.autoreset_mode)
        except NotFusable as reason:
            raise ConfigError(f'device: the step of this world cannot be recorded for "cuda": {reason}') from None
        room = max(source.room for source in self.sources)
        require(room <= ROOM, "device", f'"cuda" has {ROOM} bytes for the temporaries of a user', room)
        self.layouts, self.layout = step.users, step.outcome
        cuda = load()
        self._kernels: tuple[Any, ...] = ()
        self._constants = [cuda.to_device(source.constants) for source in self.sources]

        def memory(size: int) -> Any:
            return cuda.to_device(np.zeros(max(size, 16), U8))

        self._moving = memory(B * self.layouts[0].width), memory(B * self.layouts[0].width)  # before a step and after
        self._fixed = memory(B * self.layouts[1].width)
        self._done = memory(B), memory(B)  # 1: terminated, 2: truncated; before a step and after
        self._outcomes = Pool(lambda: memory(B * self.layout.width))
        self._observations = Pool(lambda: memory(B * 4 * self.observations.width))
        low, high = self.actions._low, self.actions._high
        self._bounds = cuda.to_device(low), cuda.to_device(high)
        self._actions = memory(B * low.nbytes)
        self._given = self._actions[: B * low.nbytes].view(low.dtype).reshape(len(low), B)
        self._wrong = cuda.to_device(
            np.zeros(2, np.int64)
        )  # of actions, of forms of actions: 1 + the user who did something wrong
        self._seen: Piece | None = None  # the latest observation, and the outcome with the latest action masks
        self._latest: Piece | None = None
        self._unchecked = 0
        ones = np.ones((self.actions.n, B), U8).ravel()
        self._ones = Piece(None, cuda.to_device(ones)) if self.actions.static else None
        blank = np.zeros(max(B * self.layout.width, 16), U8)
        for name, array in self.layout.arrays(blank, B).items():
            array.fill(INFO.get(name, 0))
        self._blank = cuda.to_device(blank)

    def _launch(self, kernel: Any, *arguments: Any) -> None:
        """Run a kernel, with a thread for each user."""
        grid = (self.num_envs, 1) if SIMULATED else (-(-self.num_envs // THREADS), THREADS)
        kernel[grid](*arguments)

    def _compile(self) -> None:
        if not self._kernels:
            self._kernels = tuple(source.kernel() for source in self.sources)

    def _arrive(self, ended: Any, outcome: Piece, seen: Piece, final: Piece) -> None:
        """Begin the next episode of the users marked in `ended`."""
        buffers = ended, self._fixed, self._moving[0], outcome.memory, self._done[0], final.memory, seen.memory
        self._launch(self._kernels[1], self.num_envs, *buffers, self._constants[1])

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start episodes, see `RecVectorEnv.reset`; observations and the arrays of info are on the device."""
        mask = self._reset_mask(options)
        self._compile()
        B, first = self.num_envs, self._seen is None
        if first:
            mask, seed = None, int(np.random.SeedSequence().generate_state(1, np.uint32)[0]) if seed is None else seed
        else:
            self.check()
        rows = np.ones(B, np.bool_) if mask is None else mask
        if seed is not None:
            seeds = self._seeds(seed)
            VectorEnv.reset(self, seed=seeds[0])
            self._put("key", np.where(rows, mix(seeds), self._get("key")))
            self._put("episode", np.where(rows, np.int32(-1), self._get("episode")))
        seen, outcome = self._observations.take(), self._outcomes.take()
        outcome.memory.copy_to_device(self._blank)
        if self._seen is not None and self._latest is not None:  # what the others see
            seen.memory.copy_to_device(self._seen.memory)
            if not self.actions.static:
                start, end = self._span(self.layout, "action_mask")
                outcome.memory[start:end].copy_to_device(self._latest.memory[start:end])
        done = self._done[0].copy_to_host()
        done[:B][rows] = 0
        ended = np.zeros(len(done), U8)
        ended[:B] = rows
        self._done[1].copy_to_device(ended)
        self._arrive(self._done[1], outcome, seen, self._observations.take())
        self._done[0].copy_to_device(done)
        self._seen, self._latest = seen, outcome
        return self._view(seen), self._info(outcome)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One step of every user, see `RecVectorEnv.step`; all that is returned is on the device.

        Args:
            actions: on the device, (B, *shape) integers (floats for a Box): anything that has ``__cuda_array_interface__``; or
                as on the CPU, which costs a copy.

        Raises:
            SlateError: an action of the host lies outside the space, or an array has another shape or type; nothing has
                changed then. Or an earlier action of the device lay outside, see `check`.
            ConfigError: no reset came before.
        """
        require(self._seen is not None, "step", "needs a reset first", "none")
        given, form = on_device(actions), self.actions
        if given is None:
            return self.advance(form.batch(actions, self.num_envs))
        kinds = "fiu" if form._dtype.kind == "f" else "iu"
        if given.dtype.kind not in kinds:
            raise SlateError(f"action: must be {'numbers' if kinds == 'fiu' else 'integers'}, got {given.dtype}")
        shape = (self.num_envs, *form.shape)
        if given.shape != shape:
            raise SlateError(f"action: must have shape {shape}, got {given.shape}")
        self._launch(_taking(given.ndim), self._given, given, *self._bounds, self._wrong)
        return self._advance()

    def advance(self, actions: Array) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """`step` by actions of the host that `Action.batch` has checked."""
        require(self._seen is not None, "step", "needs a reset first", "none")
        self._given.copy_to_device(np.ascontiguousarray(actions.reshape(self.num_envs, -1).T))
        return self._advance()

    def _advance(self) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        seen, outcome = self._observations.take(), self._outcomes.take()
        (before, after), (ended, done) = self._moving, self._done
        buffers = before, self._fixed, after, outcome.memory, done, self._wrong
        self._launch(self._kernels[0], self.num_envs, *buffers, self._actions, seen.memory, self._constants[0])
        self._moving, self._done = (after, before), (done, ended)
        same = self.autoreset_mode is AutoresetMode.SAME_STEP
        final = self._observations.take() if same else seen
        self._arrive(done if same else ended, outcome, seen, final)
        self._seen, self._latest = seen, outcome
        self._unchecked += 1
        if self._unchecked >= CHECK_EVERY:
            self.check()
        flags = (self._column(outcome, name) for name in ("reward", "left", "truncated"))
        info = self._info(outcome) | ({"final_obs": self._view(final)} if same else {})
        return self._view(seen), *flags, info  # type: ignore[return-value]

    def check(self) -> None:
        """Wait for the device, and see whether all actions since the last look were in the space.

        Raises:
            SlateError: an action was not; it has counted as the lowest action of the space.
            ConfigError: a form of actions from outside gave a slate that is not allowed; the user was shown nothing.
        """
        action, form = (int(user) for user in self._wrong.copy_to_host()[:2])
        self._unchecked = 0
        if action or form:
            self._wrong.copy_to_device(np.zeros(2, np.int64))
        if action:
            raise SlateError(
                f"action: must lie in {self.actions.space}, and did not for user {action - 1} in an earlier step"
            )
        if form:
            rule = "must give candidates of the user, each once, or -1"
            raise ConfigError(
                f"action: {self.actions.form!r}.decode {rule}, and did not for user {form - 1} in an earlier step"
            )

    # What is handed out.

    def _column(self, piece: Piece, name: str) -> DeviceArray:
        """An array of the outcome."""
        start, dtype, row = self.layout.places[name]
        return DeviceArray.column(piece, start, self.num_envs, row, dtype)

    def _info(self, outcome: Piece) -> dict[str, Any]:
        return {name: self._column(outcome, name) for name in INFO} | {"action_mask": self._mask(outcome)}

    def _mask(self, outcome: Piece) -> DeviceArray:
        piece, start = (outcome, self.layout.places["action_mask"][0]) if self._ones is None else (self._ones, 0)
        return DeviceArray.column(piece, start, self.num_envs, (self.actions.n,), I8)

    def _view(self, seen: Piece) -> Any:
        """The observation: a matrix, or its blocks by name."""
        form = self.observations
        flat = DeviceArray.column(seen, 0, self.num_envs, (form.width,), F32)
        if not isinstance(form, DictObservation):
            return flat
        return {name: flat.block(block.slice, block.shape) for name, block in form.layout.items()}

    def action_masks(self) -> Array:
        """(B, n) bool of the current step, or (B, S * n) for slates, on the host: see `RecVectorEnv.action_masks`."""
        require(self._latest is not None, "action_masks", "needs a reset first", "none")
        assert self._latest is not None
        return self.actions.space_mask(np.asarray(self._mask(self._latest), np.bool_))

    # Users, between host and device.

    def _span(self, layout: Layout, name: str) -> tuple[int, int]:
        """Where a column begins and ends in its buffer, in bytes."""
        start, dtype, row = layout.places[name]
        width = dtype.itemsize * int(np.prod(row, dtype=np.int64))
        return self.num_envs * start, self.num_envs * (start + width)

    def _place(self, name: str) -> tuple[Any, tuple[int, ...], np.dtype[Any]]:
        """The memory of a column of the users, its shape with the users last, and its dtype."""
        for layout, memory in zip(self.layouts, (self._moving[0], self._fixed), strict=True):
            if name in layout.places:
                _, dtype, row = layout.places[name]
                start, end = self._span(layout, name)
                return memory[start:end], (*row, self.num_envs), dtype
        raise KeyError(name)

    def _get(self, name: str) -> Array:
        """A column of the users, copied from the device."""
        memory, shape, dtype = self._place(name)
        content = memory.copy_to_host() if memory.size else np.empty(0, U8)
        return np.ascontiguousarray(np.moveaxis(content.view(dtype).reshape(shape), -1, 0))

    def _put(self, name: str, array: Array) -> None:
        """Copy a column of the users to the device."""
        memory, _, dtype = self._place(name)
        if memory.size:
            content = np.ascontiguousarray(np.moveaxis(np.asarray(array, dtype), 0, -1))
            memory.copy_to_device(content.ravel().view(U8))

    def get_state(self) -> EnvState:
        """A snapshot on the host; `set_state` of an env on either device takes it."""
        require(self._seen is not None, "get_state", "needs a reset first", "none")
        self.check()
        names = [name for layout in self.layouts for name, *_ in layout.columns]
        done = self._done[0].copy_to_host()[: self.num_envs]
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            done = np.zeros_like(done)
        return EnvState(Users.of({name: self._get(name) for name in names}), done == 1, done == 2)

    def set_state(self, state: EnvState) -> None:
        """Go back (or on) to a snapshot, see `RecVectorEnv.set_state`."""
        super().set_state(state)  # which checks it, and leaves the users on the host
        users = self.stepper.users
        assert users is not None
        self.stepper.state = None
        self._compile()
        for name, array in users.__dict__.items():
            self._put(name, array)
        done = np.zeros(max(self.num_envs, 16), U8)
        done[: self.num_envs] = state.terminated + 2 * state.truncated.astype(U8)
        self._done[0].copy_to_device(done)
        seen, outcome = self._observations.take(), self._outcomes.take()
        outcome.memory.copy_to_device(self._blank)
        flat = np.ascontiguousarray(self.stepper.observe(users).T)
        seen.memory[: flat.nbytes].copy_to_device(flat.ravel().view(U8))
        if not self.actions.static:
            start, end = self._span(self.layout, "action_mask")
            outcome.memory[start:end].copy_to_device(
                np.ascontiguousarray(self.actions.mask(users.candidates).T).ravel().view(U8)
            )
        self._seen, self._latest = seen, outcome

    def fuse(self) -> bool:
        """True: the step is a kernel on the device from the beginning."""
        return True


def step_source(program: Program) -> Source:
    """The kernel of a step of all users, from their buffers `before` and `fixed` to `after` and `outcome`."""
    moving, fixed = program.users
    where = columns("before", "before", moving) | columns("after", "after", moving)
    where |= columns("fixed", "fixed", fixed) | columns("outcome", "outcome", program.outcome)
    last = ["done[b] = outcome_left[0] + 2 * outcome_truncated[0]"]
    if "outcome_wrong" in where:
        last += ["if outcome_wrong[0]:", "    view(wrong, 8, (1,), 8, np.int64)[0] = b + 1"]
    return Source(program, "step", where, ["before", "fixed", "after", "outcome", "done", "wrong"], last=last)


def arrival_source(stepper: Stepper, step: Program, mode: AutoresetMode) -> Source:
    """The kernel that begins the next episode of the users marked in `ended`, in the buffers that a step has filled.

    Raises:
        NotFusable: the arrival of users cannot be recorded.
    """
    form = stepper.observations
    moving, fixed = step.users
    where = columns("after", "after", moving) | columns("after", "fixed", fixed)
    where |= columns("outcome", "outcome", step.outcome)
    where |= {"given_0": where["after_key"], "given_1": where["after_episode"]}
    first = ["if ended[b] == 0:", "    return", "after_episode[0] += 1"]
    if mode is AutoresetMode.SAME_STEP:
        seen, final = (column(name, 0, F32, (form.width,)).flat() for name in ("all_given_2", "final"))
        first.append(f"copy({final}, {seen})")
    else:  # a user who had ended takes no step
        first.append("done[b] = 0")
        for name in ("reward", "left", "truncated", *INFO):
            first.append(f"fill({where[f'outcome_{name}'].flat()}, {INFO.get(name, 0)})")
    taken = ["ended", "fixed", "after", "outcome", "done", "final"]
    return Source(Program(stepper.arrived, stepper.newcomers), "arrive", where, taken, first)


def _take_numbers(taken, given, low, high, wrong):
    """Copies actions (B, n), each within its bounds, and takes note of a user whose action lies outside."""
    b = cuda.grid(1)  # noqa: F821  # pyright: ignore[reportUndefinedVariable]
    if b < given.shape[0]:
        for k in range(low.shape[0]):
            action = given[b, k]
            if action >= low[k] and action <= high[k]:
                taken[k, b] = action
            else:
                taken[k, b] = low[k]
                wrong[0] = b + 1


def _take_number(taken, given, low, high, wrong):
    """The same of actions (B,)."""
    b = cuda.grid(1)  # noqa: F821  # pyright: ignore[reportUndefinedVariable]
    if b < given.shape[0]:
        if given[b] >= low[0] and given[b] <= high[0]:
            taken[0, b] = given[b]
        else:
            taken[0, b] = low[0]
            wrong[0] = b + 1


@cache
def _taking(axes: int) -> Any:
    """The kernel that takes actions of one axis or two."""
    globals()["cuda"] = load()
    return load().jit(_take_number if axes == 1 else _take_numbers)
