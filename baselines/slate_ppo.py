"""Proximal policy optimisation of slates: a softmax over the candidates, which are drawn one after the other.

Schulman, Wolski, Dhariwal, Radford and Klimov, "Proximal policy optimization algorithms", 2017 (arXiv 1707.06347), with
the probability of an ordered slate drawn without replacement (Plackett 1975; Luce 1959) in the place of an action's, and
advantages of Schulman et al., "High-dimensional continuous control using generalized advantage estimation", ICLR 2016.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.agent import Agent, Progress, Task
from baselines.encoders import MAX_WIDTH, torch_seed, torch_threads
from baselines.policies import ORIGIN, as_array
from baselines.reinforce import NEVER, slate_log_prob
from baselines.requirements import require_array, require_batch, require_choices
from recgym.compat import AutoresetMode
from recgym.envs import RecVectorEnv
from recgym.errors import ConfigError, require, require_count, require_number
from recgym.files import parse_arrays

Array = NDArray[Any]
WORTH_COMPILING = 200_000  # user-steps of a training; in shorter ones compiling the step takes longer than it saves
CLIP = 6.0  # standard deviations: numbers further off the mean count as so many
SCALING = ("choice_mean", "choice_scale", "user_mean", "user_scale")


class Look(NamedTuple):
    """What a policy sees of B users who have n choices each: their candidates, after nothing, where it is an action."""

    choices: Array  # (B, n, f) float32, numbers of each choice; zeros where it shows nothing
    user: Array  # (B, g) float32, numbers of the user
    free: Array  # (B, n) bool, what can be chosen


def visible(env: RecVectorEnv, observation: Array) -> Look:
    """What flat observations (B, width) show.

    Of a choice, the numbers of the block "candidates" and whether it is an item; of the user, the block "user" and the mean
    of the rows of the block "history", those without a click as zeros.
    """
    require_batch(observation)
    layout, B = env.observation_layout, len(observation)
    x, history = (
        observation[:, layout[name].slice].reshape(B, *layout[name].shape) for name in ("candidates", "history")
    )
    there = observation[:, layout["mask"].slice] > 0.5
    choices = np.concatenate([x * there[:, :, None], there[:, :, None]], axis=2, dtype=np.float32)
    if env.actions.null:
        choices = np.concatenate([np.zeros_like(choices[:, :1]), choices], axis=1)
        there = np.concatenate([np.ones((B, 1), np.bool_), there], axis=1)
    user = np.concatenate([observation[:, layout["user"].slice], history.mean(axis=1)], axis=1, dtype=np.float32)
    return Look(choices, user, there)


class Policy(nn.Module):
    """Logits of choices: two hidden layers of tanh, the same for each choice, and a constant for the first.

    Args:
        choice, user: numbers of a choice and of a user. width: units per layer. nothing: added to the logit of choice 0.
    """

    nothing: Tensor

    def __init__(self, choice: int, user: int, width: int, nothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("nothing", torch.tensor(nothing))
        self.choice, self.user = nn.Linear(choice, width), nn.Linear(user, width, bias=False)
        last = nn.Linear(width, 1)
        with torch.no_grad():
            last.weight *= 0.1
        self.head = nn.Sequential(nn.Tanh(), nn.Linear(width, width), nn.Tanh(), last)

    def forward(self, choices: Tensor, user: Tensor, free: Tensor) -> Tensor:
        """(B, n, f), (B, g) and (B, n) bool -> (B, n) logits, `NEVER` of what is not free."""
        logits = self.head(self.choice(choices) + self.user(user)[:, None])[:, :, 0]
        return (logits + self.nothing * (torch.arange(free.shape[1]) == 0)).masked_fill(~free, NEVER)


class Seen(NamedTuple):
    """A `Look`, normalised, as tensors of the same shapes."""

    choices: Tensor
    user: Tensor
    free: Tensor


class Segment(NamedTuple):
    """T steps of B users, a list of T each: what was seen; choices (B, S), which of them count (B, S), and the log
    probability of the slate (B,) as it was drawn; reward (B,), and whether the episode ended (B,)."""

    seen: list[Seen]
    choice: list[Tensor]
    valid: list[Tensor]
    log_prob: list[Tensor]
    reward: list[Tensor]
    ended: list[Tensor]


@dataclass
class SlatePPO(Agent):
    """A softmax over the candidates, trained by proximal policy optimisation.

    Slates are drawn without replacement (Plackett-Luce) in training; afterwards the choices of the largest logits are shown,
    the largest first. Where nothing, if that is an action, has the largest logit, nothing is shown; at first it is as likely
    as all candidates together, since what is hardly ever tried is never found to be worth while. What is seen is normalised
    by its mean and standard deviation among users who were shown random slates. An episode that is cut at the horizon counts
    as one that has ended.

    It takes few gradient steps of many user-steps each: a user-step costs a fifth of what it costs `Reinforce`, and
    sessions in which it pays to wait want hundreds of thousands of them.

    Args:
        width: units per layer.
        single: share of the steps, at first, in which slates have one item, in [0, 1]: which item a reward is owed to is
            then plain, and what is learned carries over. Of no effect where slates have one item anyway.
        envs: users stepped together. segment: steps of each between two rounds of learning.
        epochs: how often a segment is used. batch_size: user-steps per gradient step.
        learning_rate: of Adam; falls linearly to a twentieth. entropy: weight of the entropy at first; falls linearly to 0.
        gamma: discount per step. trace: the lambda of the advantage. clip: how far the ratio of probabilities may move.
        objective_weights: weights of the objectives it is trained for; None: the task's own reward.
        expected_reward: whether it is trained on expected instead of realised rewards, which vary less and which only a
            simulator knows.
    """

    width: int = 32
    single: float = 0.5
    envs: int = 256
    segment: int = 50
    epochs: int = 3
    batch_size: int = 3200
    learning_rate: float = 5e-3
    entropy: float = 0.005
    gamma: float = 0.99
    trace: float = 0.95
    clip: float = 0.2
    objective_weights: dict[str, float] | None = None
    expected_reward: bool = False

    file: ClassVar[str] = "policy.npz"
    what: ClassVar[str] = "policy"  # in messages

    def __post_init__(self) -> None:
        name = type(self).__name__
        require_count(f"{name}.width", self.width, 1, MAX_WIDTH)
        for count in ("envs", "segment", "epochs", "batch_size"):
            require_count(f"{name}.{count}", getattr(self, count), 1, 10**6)
        for number in ("learning_rate", "entropy", "clip"):
            require_number(f"{name}.{number}", getattr(self, number), 0, 10)
        for share in ("single", "gamma", "trace"):
            require_number(f"{name}.{share}", getattr(self, share), 0, 1)
        self.trained = False  # by a `fit`, or as it was read from a file
        self.scaling: dict[str, Array] = {}  # `SCALING` -> (f,) or (g,) float32: what is seen is normalised by it
        self.policy: Policy | None = None
        self._rng = np.random.default_rng(0)

    def look(self, env: RecVectorEnv, observation: Array) -> Look:
        """What the policy sees of the users of an env."""
        return visible(env, observation)

    def start(self, env: RecVectorEnv) -> None:
        """Get ready to act.

        Raises:
            ConfigError: actions name no candidates, observations are a dict, or the env is not of the kind that was
                learned in.
        """
        require_choices(env, type(self).__name__)
        super().start(env)
        look = self.look(env, np.zeros((env.num_envs, env.observations.width), np.float32))
        if not self.trained:
            self._begin(env, look)
        for name, sees in (("choice_mean", look.choices), ("user_mean", look.user)):
            rule = f"must be of a world with as many numbers of a {name.partition('_')[0]}, {sees.shape[-1]}"
            require(len(self.scaling[name]) == sees.shape[-1], self.what, rule, len(self.scaling[name]))

    def _begin(self, env: RecVectorEnv, look: Look) -> None:
        """The policy of an agent without training: new weights, and numbers taken as they are."""
        f, g = look.choices.shape[2], look.user.shape[1]
        with torch_seed(0):
            self.policy = Policy(f, g, self.width)
        for name, n in (("choice", f), ("user", g)):
            self.scaling |= {f"{name}_mean": np.zeros(n, np.float32), f"{name}_scale": np.ones(n, np.float32)}

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        """The choices of the largest logits; with `explore`, draws."""
        assert self.policy is not None
        with torch.no_grad():
            logits = self.policy(*self._seen(self.env, observation))
            choice, _ = _slates(self._noisy(logits) if explore else logits, self.env)
        return self.env.actions.encode(choice.numpy())

    def _noisy(self, logits: Tensor) -> Tensor:
        """Logits whose order is a draw without replacement: Gumbel noise is added."""
        return logits + torch.as_tensor(self._rng.gumbel(size=logits.shape).astype(np.float32))

    def _seen(self, env: RecVectorEnv, observation: Array) -> Seen:
        look, by = self.look(env, observation), self.scaling
        choices = np.clip((look.choices - by["choice_mean"]) * by["choice_scale"], -CLIP, CLIP)
        user = np.clip((look.user - by["user_mean"]) * by["user_scale"], -CLIP, CLIP)
        return Seen(torch.as_tensor(choices), torch.as_tensor(user), torch.as_tensor(look.free))

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Progress | None = None) -> None:
        """Train the policy, or go on with the one that was trained before; the number of steps is rounded to whole segments."""
        task, rounds = self.training(task), max(1, steps // (self.segment * self.envs))
        alone = Task(task.id, {**task.options, "slate_size": 1, "action": "slate"})
        with contextlib.closing(task.make(1)) as env:
            first = round(self.single * rounds) if env.world.slate_size > 1 else 0
        self._rng, self._done, self._rounds = np.random.default_rng(seed), 0, rounds
        with torch_seed(seed), torch_threads(1):
            nets: tuple[nn.Module, torch.optim.Adam] | None = None
            for part, n in ((alone, first), (task, rounds - first)):
                if n:
                    nets = self._train(part, n, seed, progress, nets)

    def _train(self, task: Task, rounds: int, seed: int, progress: Progress | None,
               nets: tuple[nn.Module, torch.optim.Adam] | None) -> tuple[nn.Module, torch.optim.Adam]:  # fmt: skip
        """Some rounds in one task, with the value network and the optimiser of the rounds before."""
        env = task.make(self.envs, AutoresetMode.SAME_STEP)
        require_choices(env, type(self).__name__)
        if rounds * self.segment * self.envs >= WORTH_COMPILING:
            env.fuse()
        if not self.trained:
            self._measure(env, seed)
        observation, _ = env.reset(seed=seed)
        seen = self._seen(env, observation)
        f, g = seen.choices.shape[2], seen.user.shape[1]
        if not self.trained or self.policy is None:
            nothing = math.log(env.world.n_candidates) if env.actions.null else 0.0
            self.policy, self.trained = Policy(f, g, self.width, nothing), True
        policy = self.policy
        if nets is None:
            value = nn.Sequential(nn.Linear(g, self.width), nn.Tanh(), nn.Linear(self.width, self.width), nn.Tanh(),
                                  nn.Linear(self.width, 1))  # fmt: skip
            nets = value, torch.optim.Adam([*policy.parameters(), *value.parameters()], self.learning_rate)
        value, adam = nets
        scale = 0.0
        for _ in range(rounds):
            left = 1 - self._done / self._rounds
            adam.param_groups[0]["lr"] = self.learning_rate * max(left, 0.05)
            played, seen = self._play(env, policy, seen)
            scale = self._improve(adam, policy, value, played, seen, scale, self.entropy * left, env.actions.null)
            self._done += 1
            if progress:
                shown = {"reward": float(torch.stack(played.reward).mean())}
                progress(self._done * self.segment * self.envs, shown)
        env.close()
        return nets

    def _measure(self, env: RecVectorEnv, seed: int) -> None:
        """Find `scaling`: means and standard deviations over a segment of users who are shown random slates."""
        observation, _ = env.reset(seed=seed)
        env.action_space.seed(seed)
        sums: dict[str, Any] = {"choice": 0.0, "user": 0.0}  # (3, f) or (3, g): of ones, numbers and their squares
        for _ in range(self.segment):
            look = self.look(env, observation)
            for name, seen in (("choice", look.choices[look.free]), ("user", look.user)):
                sums[name] += np.stack([seen**power for power in range(3)]).sum(axis=1, dtype=np.float64)
            observation = env.step(env.action_space.sample())[0]
        for name, (count, total, squares) in sums.items():
            mean = total / count
            deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
            self.scaling[f"{name}_mean"] = mean.astype(np.float32)
            self.scaling[f"{name}_scale"] = (1 / np.maximum(deviation, 1e-3)).astype(np.float32)

    def _play(self, env: RecVectorEnv, policy: Policy, seen: Seen) -> tuple[Segment, Seen]:
        """A segment, and what is seen after it."""
        played = Segment([], [], [], [], [], [])
        for _ in range(self.segment):
            with torch.no_grad():
                logits = policy(*seen)
                choice, valid = _slates(self._noisy(logits), env)
                played.log_prob.append(slate_log_prob(logits, choice, valid, env.actions.null))
            observation, reward, terminated, truncated, _ = env.step(env.actions.encode(choice.numpy()))
            played.seen.append(seen)
            played.choice.append(choice)
            played.valid.append(valid)
            played.reward.append(torch.as_tensor(reward, dtype=torch.float32))
            played.ended.append(torch.as_tensor(terminated | truncated))
            seen = self._seen(env, observation)
        return played, seen

    def _improve(self, adam: torch.optim.Adam, policy: Policy, value: nn.Module, played: Segment, after: Seen,
                 scale: float, entropy: float, null: bool) -> float:  # fmt: skip
        """Some epochs over a segment. The value is learned in units of `scale`; returns the next one, 0 is none yet."""
        users = torch.stack([seen.user for seen in (*played.seen, after)])
        with torch.no_grad():
            expected = value(users)[:, :, 0] * scale
            advantage, following = torch.zeros_like(expected[:-1]), torch.zeros_like(expected[0])
            for t in reversed(range(len(advantage))):
                go = self.gamma * (~played.ended[t]).float()
                delta = played.reward[t] + go * expected[t + 1] - expected[t]
                following = advantage[t] = delta + self.trace * go * following
            target = (advantage + expected[:-1]).flatten()
            spread = float(target.std()) + 1e-3
            scale = 0.9 * scale + 0.1 * spread if scale else spread
            gain = (advantage.flatten() - advantage.mean()) / (advantage.std() + 1e-6)
        seen = Seen(*(torch.cat(parts) for parts in zip(*played.seen, strict=True)))
        choice, valid, old = (torch.cat(parts) for parts in (played.choice, played.valid, played.log_prob))
        for _ in range(self.epochs):
            for rows in torch.randperm(len(gain)).split(self.batch_size):
                logits = policy(*(part[rows] for part in seen))
                ratio = (slate_log_prob(logits, choice[rows], valid[rows], null) - old[rows]).exp()
                bounded = ratio.clamp(1 - self.clip, 1 + self.clip)
                better = torch.minimum(ratio * gain[rows], bounded * gain[rows]).mean()
                log_p = logits.log_softmax(dim=1)
                spread_out = -(log_p.exp() * log_p).sum(dim=1).mean()
                error = ((value(seen.user[rows])[:, 0] - target[rows] / scale) ** 2).mean()
                adam.zero_grad()
                (0.5 * error - better - entropy * spread_out).backward()
                nn.utils.clip_grad_norm_([p for group in adam.param_groups for p in group["params"]], 1.0)
                adam.step()
        return scale

    def as_bytes(self, origin: dict[str, Any] | None = None) -> bytes:
        """The file of the policy, as `baselines.policies` has it, with where it comes from."""
        arrays: dict[str, Array] = dict(self.scaling)
        if self.policy is not None:
            arrays |= {f"policy.{name}": tensor.numpy() for name, tensor in self.policy.state_dict().items()}
        if origin is not None:
            arrays[ORIGIN] = as_array(origin)
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        return file.getvalue()

    def _parse(self, content: bytes, file: object) -> None:
        what = self.what
        arrays = parse_arrays(content, what, file)
        arrays.pop(ORIGIN, None)
        for name in SCALING:
            require(name in arrays, what, f"must hold {name}, in {file}", [*arrays])
            require_array(arrays[name], f"{what} {name}", np.float32, (None,))
        self.scaling = {name: arrays.pop(name) for name in SCALING}
        weight = arrays.get("policy.choice.weight", np.zeros(0))
        require(weight.ndim == 2, what, f"must hold policy.choice.weight (width, f), in {file}", weight.shape)
        policy = Policy(len(self.scaling["choice_mean"]), len(self.scaling["user_mean"]), len(weight))
        shapes = {f"policy.{name}": tuple(tensor.shape) for name, tensor in policy.state_dict().items()}
        found = {name: array.shape for name, array in arrays.items()}
        if found != shapes:
            raise ConfigError(f"{what}: {file} must hold arrays of the shapes {shapes}, got {found}")
        for name, array in arrays.items():
            require_array(array, f"{what} {name}", np.float32, shapes[name])
        policy.load_state_dict({name.removeprefix("policy."): torch.as_tensor(a) for name, a in arrays.items()})
        self.policy = policy

    def contents(self) -> dict[str, bytes]:
        return {**super().contents(), self.file: self.as_bytes() if self.trained else b""}

    def take(self, read: Callable[[str], bytes]) -> None:
        super().take(read)
        content = read(self.file)
        if content:  # none of an agent that was saved without a policy
            self._parse(content, self.file)
            self.trained = True


def _slates(score: Tensor, env: RecVectorEnv) -> tuple[Tensor, Tensor]:
    """(B, S) choices of the largest scores, and (B, S) bool which of them count.

    Nothing, where it is choice 0, has the whole slate if its score (B, n) is the largest, else no position of it.
    """
    if env.actions.null:
        score = score.clone()
        score[:, 0] = torch.where(score.argmax(dim=1) == 0, score[:, 0], 2 * NEVER)
    best, choice = score.topk(env.world.slate_size, dim=1)
    valid = best > NEVER / 2
    if env.actions.null:
        valid[:, 1:] &= choice[:, :1] > 0
        choice = torch.where(valid, choice, 0)
    return choice, valid
