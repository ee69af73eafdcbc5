"""The best policy that this project knows of a world: trained on the hidden state of the user, by policy gradient.

It is the 1 of the normalised scores (`benchmarks.suite`), and no competitor: it sees what no platform sees. Its weights, a
few kilobytes for each environment, lie in ``baselines/policies``; ``python -m benchmarks audit`` trains and compares them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.agent import Agent, Progress, Task
from baselines.encoders import torch_seed, torch_threads
from baselines.policies import ORIGIN, as_array, read_policy
from baselines.reinforce import NEVER, slate_log_prob
from baselines.requirements import require_array
from recgym.compat import AutoresetMode
from recgym.envs import RecVectorEnv
from recgym.errors import ConfigError, require, require_count, require_number
from recgym.files import parse_arrays
from recgym.types import Users
from recgym.world import World

Array = NDArray[Any]
CLIP = 6.0  # standard deviations: numbers further off the mean count as so many
SCALING = ("choice_mean", "choice_scale", "user_mean", "user_scale")


class Latent:
    """What the policy sees of B users who have n choices each: their candidates, after nothing, where it is an action.

    Attributes:
        choices: (B, n, f) float32, of each choice: utility, probability of a click if shown alone, expected objectives
            given a click, item attributes, market signals, and the user's columns by topic at the item's topic, all of
            them whether hidden or not; and whether it is an item. Zeros where it is none.
        user: (B, g) float32: share of the horizon that is over, utility of the outside option, sine and cosine of the
            time of day, columns of the user that are one number, columns by topic as their sum, sensitivities, and what
            the last slate led to.
        free: (B, n) bool, what can be chosen.
    """

    def __init__(self, world: World, users: Users, null: bool) -> None:
        nothing = np.full((len(users), int(null)), -1, np.int32)
        items = np.concatenate([nothing, users.candidates], axis=1)
        (B, n), there = items.shape, items >= 0
        utility, outside, given, _ = world.appraise(users, items)
        alone = world.choice.probability(utility.reshape(-1, 1).copy(), np.repeat(outside, n)).reshape(B, n)
        topics = (world.sizes.topics,)
        floats = [(users[name], column.shape) for name, column in world.owned.items() if column.dtype is np.float32]
        by_topic = [users.exposure, *(values for values, shape in floats if shape == topics)]
        topic = world.catalog.topic[items].astype(np.int64)
        columns = [
            np.where(utility > -np.inf, utility, 0)[:, :, None],
            alone[:, :, None],
            given,
            world.catalog.attributes[items],
            world.market.observe(items, users.clock),
            *(np.take_along_axis(values, topic, axis=1)[:, :, None] for values in by_topic),
            np.ones((B, n, 1)),
        ]
        self.choices = np.concatenate([c * there[:, :, None] for c in columns], axis=2, dtype=np.float32)
        angle = 2 * np.pi * users.clock / 1440.0
        own = [users.t / world.horizon, outside, np.sin(angle), np.cos(angle)]
        own += [values for values, shape in floats if shape == ()]
        own += [values.sum(axis=1) for values in by_topic]
        self.user = np.concatenate([np.stack(own, axis=1), users.sensitivity, users.last], axis=1, dtype=np.float32)
        self.free = there | (np.arange(n) < int(null))


class Policy(nn.Module):
    """Logits of choices: two hidden layers of tanh, the same for each choice."""

    def __init__(self, choice: int, user: int, width: int) -> None:
        super().__init__()
        self.choice, self.user = nn.Linear(choice, width), nn.Linear(user, width, bias=False)
        last = nn.Linear(width, 1)
        with torch.no_grad():
            last.weight *= 0.1
        self.head = nn.Sequential(nn.Tanh(), nn.Linear(width, width), nn.Tanh(), last)

    def forward(self, choices: Tensor, user: Tensor, free: Tensor) -> Tensor:
        """(B, n, f), (B, g) and (B, n) bool -> (B, n) logits, `NEVER` of what is not free."""
        return self.head(self.choice(choices) + self.user(user)[:, None])[:, :, 0].masked_fill(~free, NEVER)


class Seen(NamedTuple):
    """What `Latent` has, normalised, as tensors of the same shapes."""

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
class LatentPolicy(Agent):
    """A softmax over the choices from the hidden state, trained by proximal policy optimisation (Schulman et al. 2017).

    Slates are drawn without replacement (Plackett-Luce) in training; afterwards the choices of the largest logits are shown,
    the largest first. Where nothing has the largest logit, nothing is shown.

    Without a `fit`, the policy is the committed one of the environment's id, see `baselines.policies`.

    Args:
        digests: id -> first 16 hex digits of the SHA-256 of its committed policy, which is checked; empty: not checked.
        width: units per layer, of the policy that `fit` trains; as are the following.
        envs: users stepped together. segment: steps of each between two rounds of learning.
        epochs: how often a segment is used. batch_size: user-steps per gradient step.
        learning_rate: of Adam; falls linearly to a twentieth. entropy: weight of the entropy at first; falls linearly to 0.
        gamma: discount per step. trace: the lambda of the advantage (Schulman et al. 2016). clip: of the ratio.
    """

    digests: dict[str, str] = field(default_factory=dict)
    width: int = 32
    envs: int = 256
    segment: int = 50
    epochs: int = 3
    batch_size: int = 3200
    learning_rate: float = 5e-3
    entropy: float = 0.005
    gamma: float = 0.99
    trace: float = 0.95
    clip: float = 0.2
    privileged = True

    def __post_init__(self) -> None:
        for name in ("width", "envs", "segment", "epochs", "batch_size"):
            require_count(f"LatentPolicy.{name}", getattr(self, name), 1, 10**6)
        for name in ("learning_rate", "entropy", "clip"):
            require_number(f"LatentPolicy.{name}", getattr(self, name), 0, 10)
        for name in ("gamma", "trace"):
            require_number(f"LatentPolicy.{name}", getattr(self, name), 0, 1)
        self.trained = False  # whether the policy is of a `fit`, and not the committed one
        self.scaling: dict[str, Array] = {}  # `SCALING` -> (f,) or (g,) float32: what `Latent` is normalised by
        self.policy: Policy | None = None

    def start(self, env: RecVectorEnv) -> None:
        """Get ready to act; reads the committed policy of the environment, unless the agent has been trained or loaded.

        Raises:
            ConfigError: there is none, `digests` says another, or it is of a world with other numbers.
        """
        super().start(env)
        if not self.trained:
            content, file = read_policy(env, "best-known", self.digests)
            self._parse(content, "best-known policy", file)
        look = Latent(env.world, env.get_state().users, env.actions.null)
        for name, sees in (("choice_mean", look.choices), ("user_mean", look.user)):
            rule = f"must be of a world with as many numbers of a {name.partition('_')[0]}, {sees.shape[-1]}"
            require(len(self.scaling[name]) == sees.shape[-1], "policy", rule, len(self.scaling[name]))

    @classmethod
    def of(cls, content: bytes, file: object, **hyperparameters: Any) -> LatentPolicy:
        """The policy of a file of `baselines.policies`, from which `fit` goes on.

        Raises:
            ConfigError: the file, of that content, holds none.
        """
        agent = cls(**hyperparameters)
        agent._parse(content, "best-known policy", file)
        agent.trained = True
        return agent

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        assert self.policy is not None
        with torch.no_grad():
            choice, _ = _slates(self.policy(*self._look(self.env)), self.env)
        return self.env.actions.encode(choice.numpy())

    def _look(self, env: RecVectorEnv) -> Seen:
        look, by = Latent(env.world, env.get_state().users, env.actions.null), self.scaling
        choices = np.clip((look.choices - by["choice_mean"]) * by["choice_scale"], -CLIP, CLIP)
        user = np.clip((look.user - by["user_mean"]) * by["user_scale"], -CLIP, CLIP)
        return Seen(torch.as_tensor(choices), torch.as_tensor(user), torch.as_tensor(look.free))

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Progress | None = None) -> None:
        """Train a policy, or go on with the one that was trained before or comes from `of`; the committed one is no beginning."""
        env = task.make(self.envs, AutoresetMode.SAME_STEP)
        env.fuse()
        rng, rounds = np.random.default_rng(seed), max(1, steps // (self.segment * self.envs))
        with torch_seed(seed), torch_threads(1):
            if not self.trained:
                self._measure(env, seed)
            env.reset(seed=seed)
            look = self._look(env)
            f, g = look.choices.shape[2], look.user.shape[1]
            policy = self.policy if self.trained and self.policy is not None else Policy(f, g, self.width)
            self.policy = policy
            value = nn.Sequential(nn.Linear(g, self.width), nn.Tanh(), nn.Linear(self.width, self.width), nn.Tanh(),
                                  nn.Linear(self.width, 1))  # fmt: skip
            adam = torch.optim.Adam([*policy.parameters(), *value.parameters()], self.learning_rate)
            self.trained, scale = True, 0.0
            for r in range(rounds):
                left = 1 - r / rounds
                adam.param_groups[0]["lr"] = self.learning_rate * max(left, 0.05)
                played, look = self._play(env, policy, look, rng)
                scale = self._improve(adam, policy, value, played, look, scale, self.entropy * left, env.actions.null)
                if progress:
                    progress(
                        min((r + 1) * self.segment * self.envs, steps),
                        {"reward": float(torch.stack(played.reward).mean())},
                    )
        env.close()

    def _measure(self, env: RecVectorEnv, seed: int) -> None:
        """Find `scaling`: means and standard deviations over a segment of users who are shown random slates."""
        env.reset(seed=seed)
        env.action_space.seed(seed)
        sums: dict[str, Any] = {"choice": 0.0, "user": 0.0}  # (3, f) or (3, g): of ones, numbers and their squares
        for _ in range(self.segment):
            look = Latent(env.world, env.get_state().users, env.actions.null)
            for name, seen in (("choice", look.choices[look.free]), ("user", look.user)):
                sums[name] += np.stack([seen**power for power in range(3)]).sum(axis=1, dtype=np.float64)
            env.step(env.action_space.sample())
        for name, (count, total, squares) in sums.items():
            mean = total / count
            deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
            self.scaling[f"{name}_mean"] = mean.astype(np.float32)
            self.scaling[f"{name}_scale"] = (1 / np.maximum(deviation, 1e-3)).astype(np.float32)

    def _play(self, env: RecVectorEnv, policy: Policy, look: Seen, rng: np.random.Generator) -> tuple[Segment, Seen]:
        """A segment, and what is seen after it. Slates are drawn by adding Gumbel noise to the logits."""
        played = Segment([], [], [], [], [], [])
        for _ in range(self.segment):
            with torch.no_grad():
                logits = policy(*look)
                noise = torch.as_tensor(rng.gumbel(size=logits.shape).astype(np.float32))
                choice, valid = _slates(logits + noise, env)
                played.log_prob.append(slate_log_prob(logits, choice, valid, env.actions.null))
            _, reward, terminated, truncated, _ = env.step(env.actions.encode(choice.numpy()))
            played.seen.append(look)
            played.choice.append(choice)
            played.valid.append(valid)
            played.reward.append(torch.as_tensor(reward, dtype=torch.float32))
            played.ended.append(torch.as_tensor(terminated | truncated))
            look = self._look(env)
        return played, look

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

    def _parse(self, content: bytes, what: str, file: object) -> None:
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
        return {**super().contents(), "policy.npz": self.as_bytes()}

    def take(self, read: Callable[[str], bytes]) -> None:
        super().take(read)
        content = read("policy.npz")
        if parse_arrays(content, "agent folder", "policy.npz"):  # none of an agent that was saved without a policy
            self._parse(content, "agent folder", "policy.npz")
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


def slope(curve: Sequence[dict[str, float]]) -> float:
    """By which share of its last value a learning curve rose over its last fifth of steps; near 0 it is flat."""
    end = curve[-1]["steps"]
    late = [point for point in curve if point["steps"] >= 0.8 * end]
    return (late[-1]["return"] - late[0]["return"]) / abs(late[-1]["return"])
