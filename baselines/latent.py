"""The best policy that this project knows of a world: trained on the hidden state of the user, by policy gradient.

It is the 1 of the normalised scores (`benchmarks.suite`), and no competitor: it sees what no platform sees. Its weights, a
few kilobytes for each task, lie in ``baselines/policies``; ``python -m benchmarks audit`` trains and compares them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.agent import Agent, Progress, Task
from baselines.encoders import torch_seed, torch_threads
from baselines.reinforce import NEVER, slate_log_prob
from recgym.envs import RecVectorEnv
from recgym.errors import require, require_count, require_number
from recgym.files import arrays_as_bytes, parse_arrays
from recgym.types import Users
from recgym.world import World

Array = NDArray[Any]


class Latent:
    """What the policy sees of B users: numbers of each choice (of nothing first, where it is an action) and of the user.

    Attributes:
        choices: (B, n, f) float32: utility, probability of a click if shown alone, expected objectives given a click, item
            attributes and market signals (hidden ones too), the user's columns by topic at the item's topic, and whether it
            is an item; zeros where it is none.
        user: (B, g) float32: time left, utility of the outside option, time of day, sensitivities, and the user's columns:
            numbers as they are, columns by topic as their sum.
        free: (B, n) bool, what can be chosen.
    """

    def __init__(self, world: World, users: Users, null: bool) -> None:
        nothing = np.full((len(users), int(null)), -1, np.int32)
        items = np.concatenate([nothing, users.candidates], axis=1)
        B, n = items.shape
        there = items >= 0
        utility, outside, given, _ = world.appraise(users, items)
        alone = world.choice.probability(utility.reshape(-1, 1).copy(), np.repeat(outside, n)).reshape(B, n)
        topic = world.catalog.topic[items]
        columns = [np.where(utility > -np.inf, utility, 0)[:, :, None], alone[:, :, None], given]
        columns += [world.catalog.attributes[items], world.market.observe(items, users.clock)]
        by_topic, by_user = [users.exposure], []
        for name, column in world.owned.items():
            values = users[name]
            if column.shape == (world.sizes.topics,) and column.dtype is np.float32:
                by_topic.append(values)
            elif column.dtype is np.float32 and column.shape == ():
                by_user.append(values)
        columns += [np.take_along_axis(values, topic, axis=1)[:, :, None] for values in by_topic]
        columns += [(users.exposure > -1)[:, :1, None] * there[:, :, None]]
        self.choices = np.concatenate([c * there[:, :, None] for c in columns], axis=2, dtype=np.float32)
        angle = 2 * np.pi * users.clock / 1440.0
        own = [users.t / world.horizon, outside, np.sin(angle), np.cos(angle), *by_user]
        own += [values.sum(axis=1) for values in by_topic]
        self.user = np.concatenate([np.stack(own, axis=1), users.sensitivity, users.last], axis=1, dtype=np.float32)
        self.free = there | (np.arange(n) < int(null))


class Net(nn.Module):
    """(B, n, f) numbers of choices and (B, g) of the user -> (B, n) logits; and (B,) values of the user."""

    def __init__(self, choice: int, user: int, width: int) -> None:
        super().__init__()
        self.choice, self.user = nn.Linear(choice, width), nn.Linear(user, width, bias=False)
        self.head = nn.Sequential(nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
        self.value = nn.Sequential(nn.Linear(user, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
        with torch.no_grad():
            self.head[-1].weight *= 0.1  # type: ignore[operator]

    def forward(self, choices: Tensor, user: Tensor, free: Tensor) -> Tensor:
        hidden = self.choice(choices) + self.user(user)[:, None]
        return self.head(hidden)[:, :, 0].masked_fill(~free, NEVER)


@dataclass
class LatentPolicy(Agent):
    """A softmax over candidates from the hidden state, trained by proximal policy optimisation (Schulman et al. 2017).

    Slates are drawn without replacement (Plackett-Luce) in training; afterwards the largest logits are shown.

    Args:
        width: units per layer. envs: users stepped together. segment: steps of all of them between two rounds.
        epochs: how often a segment is used. batch_size: user-steps per gradient step.
        learning_rate: of Adam, > 0; falls linearly to a twentieth. entropy: weight at first; falls linearly to 0.
        gamma: discount per step. trace: the lambda of the advantage (Schulman et al. 2016). clip: of the ratio.
    """

    width: int = 32
    envs: int = 256
    segment: int = 50
    epochs: int = 3
    batch_size: int = 3200
    learning_rate: float = 2e-3
    entropy: float = 0.01
    gamma: float = 1.0
    trace: float = 0.95
    clip: float = 0.2
    arrays: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    privileged = True

    def __post_init__(self) -> None:
        for name in ("width", "envs", "segment", "epochs", "batch_size"):
            require_count(f"LatentPolicy.{name}", getattr(self, name), 1, 10**6)
        for name in ("learning_rate", "entropy", "clip"):
            require_number(f"LatentPolicy.{name}", getattr(self, name), 0, 10)
        for name in ("gamma", "trace"):
            require_number(f"LatentPolicy.{name}", getattr(self, name), 0, 1)

    def start(self, env: RecVectorEnv) -> None:
        super().start(env)
        if self.arrays:
            self._build(*(len(self.arrays[name]) for name in ("choice_mean", "user_mean")))

    def _build(self, choice: int, user: int) -> None:
        self.net = Net(choice, user, self.width)
        weights = {name[4:]: torch.as_tensor(a) for name, a in self.arrays.items() if name.startswith("net.")}
        if weights:
            self.net.load_state_dict(weights)

    def _look(self, env: RecVectorEnv) -> tuple[Tensor, Tensor, Tensor]:
        look = Latent(env.world, env.get_state().users, env.actions.null)
        if not self.arrays:
            choices = look.choices[look.free]
            self.arrays = {"choice_mean": choices.mean(axis=0), "choice_scale": 1 / (choices.std(axis=0) + 1e-3),
                           "user_mean": look.user.mean(axis=0), "user_scale": 1 / (look.user.std(axis=0) + 1e-1)}  # fmt: skip
        a = self.arrays
        choices = np.clip((look.choices - a["choice_mean"]) * a["choice_scale"], -6, 6)
        user = np.clip((look.user - a["user_mean"]) * a["user_scale"], -6, 6)
        return torch.as_tensor(choices), torch.as_tensor(user), torch.as_tensor(look.free)

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        require(self.arrays, "LatentPolicy", "must be trained or loaded before it acts", "neither")
        with torch.no_grad():
            logits = self.net(*self._look(self.env))
        S = self.env.world.slate_size
        chosen = logits.topk(S, dim=1).indices
        if self.env.actions.null:
            chosen[chosen[:, :1].expand(-1, S) == 0] = 0
        return self.env.actions.encode(chosen.numpy())

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Progress | None = None) -> None:
        env = task.make(self.envs, AutoresetMode.SAME_STEP)
        env.fuse()
        env.reset(seed=seed)
        self.env, T, B, S = env, self.segment, self.envs, env.world.slate_size
        null, rng = env.actions.null, np.random.default_rng(seed)
        look = self._look(env)
        rounds = max(1, steps // (T * B))
        with torch_seed(seed), torch_threads(1):
            self._build(look[0].shape[2], look[1].shape[1])
            adam = torch.optim.Adam(self.net.parameters(), self.learning_rate)
            scale = None
            for r in range(rounds):
                left = 1 - r / rounds
                for group in adam.param_groups:
                    group["lr"] = self.learning_rate * max(left, 0.05)
                seen, chosen, old, reward, ended, shown = [], [], [], [], [], []
                total, finished = 0.0, 0
                for _ in range(T):
                    with torch.no_grad():
                        logits = self.net(*look)
                        noise = torch.as_tensor(rng.gumbel(size=logits.shape).astype(np.float32))
                        choice = (logits + noise).topk(S, dim=1).indices
                        valid = torch.gather(look[2], 1, choice)
                        if null and S > 1:  # nothing, drawn first, shows nothing at all; later it shortens the slate
                            valid &= ~((choice == 0) & (torch.arange(S) > 0))
                            valid[choice[:, 0] == 0, 1:] = False
                        old.append(slate_log_prob(logits, choice, valid))
                    seen.append(look), chosen.append(choice), shown.append(valid)
                    action = torch.where(valid, choice, torch.zeros_like(choice)) if null else choice
                    _, r_t, term, trunc, info = env.step(env.actions.encode(action.numpy()))
                    reward.append(torch.as_tensor(r_t, dtype=torch.float32))
                    ended.append(torch.as_tensor(term | trunc))
                    total, finished = total + float(r_t.sum()), finished + int((term | trunc).sum())
                    look = self._look(env)
                self._improve(adam, seen, chosen, shown, old, reward, ended, look, left)
                if progress:
                    progress((r + 1) * T * B, {"return": total / max(finished, 1), "episodes": finished})
        env.close()
        self.arrays = {**{k: v for k, v in self.arrays.items() if not k.startswith("net.")},
                       **{f"net.{k}": v.numpy().copy() for k, v in self.net.state_dict().items()}}  # fmt: skip

    def _improve(self, adam: Any, seen: list, chosen: list, shown: list, old: list, reward: list, ended: list,
                 look: Any, left: float) -> None:  # fmt: skip
        T = len(seen)
        with torch.no_grad():
            users = torch.stack([s[1] for s in seen] + [look[1]])
            if not hasattr(self, "_scale"):
                self._scale = 1.0
            value = self.net.value(users)[:, :, 0] * self._scale
            advantage, following = torch.zeros_like(value[:-1]), torch.zeros_like(value[0])
            for t in reversed(range(T)):
                go = (~ended[t]).float()
                delta = reward[t] + self.gamma * go * value[t + 1] - value[t]
                following = advantage[t] = delta + self.gamma * self.trace * go * following
            target = (advantage + value[:-1]).reshape(-1)
            self._scale = 0.9 * self._scale + 0.1 * float(target.std() + 1e-3) if self._scale != 1.0 else float(target.std() + 1e-3)
            a = advantage.reshape(-1)
            a = (a - a.mean()) / (a.std() + 1e-6)
        flat = [torch.cat([s[i] for s in seen]) for i in range(3)]
        choice, valid, old_log = torch.cat(chosen), torch.cat(shown), torch.cat(old)
        for _ in range(self.epochs):
            for rows in torch.randperm(len(a)).split(self.batch_size):
                logits = self.net(flat[0][rows], flat[1][rows], flat[2][rows])
                log_prob = slate_log_prob(logits, choice[rows], valid[rows])
                ratio = (log_prob - old_log[rows]).exp()
                gain = torch.minimum(ratio * a[rows], ratio.clamp(1 - self.clip, 1 + self.clip) * a[rows]).mean()
                logp = logits.log_softmax(dim=1)
                entropy = -(logp.exp() * logp).sum(dim=1).mean()
                error = ((self.net.value(flat[1][rows])[:, 0] - target[rows] / self._scale) ** 2).mean()
                loss = -gain - self.entropy * left * entropy + 0.5 * error
                adam.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
                adam.step()

    def contents(self) -> dict[str, bytes]:
        return {**super().contents(), "policy.npz": arrays_as_bytes(self.arrays)}

    def take(self, read: Any) -> None:
        super().take(read)
        self.arrays = parse_arrays(read("policy.npz"), "agent folder", "policy.npz")
