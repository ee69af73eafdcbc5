"""What `SlateQ` and `FullSlateQ` share: exploration, replay, the loss and its parts, gradient steps."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.agent import OnlineAgent, Progress, Task
from baselines.encoders import MAX_THREADS, MAX_WIDTH, TorchAgent, torch_seed, torch_threads
from baselines.replay import Replay
from baselines.requirements import columns_of, require_choices
from recgym.envs import RecVectorEnv
from recgym.errors import require, require_count, require_number

Array = NDArray[Any]
Sample = dict[str, Tensor]  # name -> (m, ...), what the replay has of m steps


@dataclass
class SlateLearner(TorchAgent, OnlineAgent):
    """Base of agents that learn values of slates by temporal differences.

    **Variants** override one or more of `networks`, `best`, `next_value`, `predicted`, `choice_loss`, `loss` and
    `remembered`. At hand are `nets`, the networks by name, which learn, and `target_net`, the copy of
    ``nets["value"]`` that is renewed every `target_update` gradient steps.

    In a sample, m steps of the replay, each of one user, there are

        observation (m, width) float32   what the networks saw
        available (m, K) bool            candidates that were there
        shown (m, S) int64               candidates in [0, K) at each position, -1 = nothing
        click (m, S) bool
        reward (m,) float32              scaled; of the step itself
        terminated, cut (m,) bool        whether the user left after it; whether the horizon ended the episode with it
        counts (m,) bool                 whether its return is known, see `Transitions`; not in samples of what follows

    Args:
        gamma: discount per step.
        n_steps: rewards summed up before a value takes over. They are those of the policy of that time, uncorrected. At
            the horizon the sum ends one step early.
        width: units per layer. learning_rate: of AdamW, falls linearly to 0. weight_decay: times the learning rate.
        reward_scale: factor on rewards in training.
        envs: users stepped together. buffer: steps of all of them to replay. batch_size: transitions per gradient step.
        gradient_steps: per step of all users. learning_starts: user-steps of random slates before the first of them.
        target_update: gradient steps between two copies to the target network.
        epsilon_start, epsilon_end, epsilon_share: the share of random slates falls linearly from the first to the second
            over this share of the training. Where nothing can be shown, 1 in S + 1 of the random slates is empty.
        threads: of torch in training.
        sees: blocks or parts of the observation, such as "user.profile", that the networks see; None: all.
        objective_weights: weights of the objectives it is trained for; None: the task's own reward.
        item_prior: clicks, see `ItemStatistics`, whose numbers join the features of candidates; 0: they do not.
    """

    gamma: float = 0.99
    n_steps: int = 20
    width: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    reward_scale: float = 0.1
    envs: int = 64
    buffer: int = 1000
    batch_size: int = 256
    gradient_steps: int = 2
    learning_starts: int = 2000
    target_update: int = 200
    epsilon_start: float = 1.0
    epsilon_end: float = 0.05
    epsilon_share: float = 0.5
    threads: int = 1
    sees: tuple[str, ...] | None = None
    objective_weights: dict[str, float] | None = None
    item_prior: float = 0.0
    weights: dict[str, dict[str, Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)
    wants_last = False
    in_training = (*OnlineAgent.in_training, "_replay", "_adam", "target_net")

    def __post_init__(self) -> None:
        name = type(self).__name__
        for key in ("gamma", "epsilon_start", "epsilon_end"):
            require_number(f"{name}.{key}", getattr(self, key), 0, 1)
        for key, bottom in (
            ("learning_rate", 1e-9),
            ("reward_scale", 1e-9),
            ("weight_decay", 0.0),
            ("item_prior", 0.0),
        ):
            require_number(f"{name}.{key}", getattr(self, key), bottom, 1e6)
        require_number(f"{name}.epsilon_share", self.epsilon_share, 1e-9, 1)
        for key, low in (
            ("n_steps", 1),
            ("buffer", 2),
            ("batch_size", 1),
            ("gradient_steps", 0),
            ("learning_starts", 0),
            ("target_update", 1),
        ):
            require_count(f"{name}.{key}", getattr(self, key), low, 10**9)
        for key, high in (("width", MAX_WIDTH), ("envs", 10**6), ("threads", MAX_THREADS)):
            require_count(f"{name}.{key}", getattr(self, key), 1, high)
        if self.sees is not None:
            require(
                len(self.sees), f"{name}.sees", "must be a list of names of blocks or parts, at least one", self.sees
            )
        self._rng = np.random.default_rng(0)

    @abstractmethod
    def networks(self, env: RecVectorEnv) -> dict[str, nn.Module]:
        """New networks for an env, by name. They read (B, width) float32; "value" gets a copy as target network."""

    @abstractmethod
    def best(self, observation: Tensor, mask: Array) -> Array:
        """The best slates of B users.

        Args:
            observation: (B, width) float32. mask: (B, K) bool, the candidates that are there.

        Returns:
            (B, S) int64 candidates in [0, K), -1 = nothing.
        """

    @abstractmethod
    def next_value(self, after: Sample) -> Tensor:
        """(m,) float32 values, by the target network, of the steps that follow the rewards; no gradient flows."""

    @abstractmethod
    def predicted(self, sample: Sample) -> tuple[Tensor, Tensor]:
        """(m,) float32 values of the steps as they happened, and which of them count in the loss, (m,) bool."""

    def choice_loss(self, sample: Sample) -> Tensor:
        """() float32: minus the log likelihood of the clicks per step, for learners that model them; else 0."""
        return torch.zeros(())

    def loss(self, sample: Sample, after: Sample, paid: Tensor, discount: Tensor) -> Tensor:
        """() float32 loss of m transitions: of `predicted` against paid + discount * `next_value`, and `choice_loss`.

        Args:
            sample: the steps. after: the steps that follow the rewards. paid: (m,) discounted sums of rewards.
            discount: (m,) of the value that follows, 0 where the user has left.
        """
        with torch.no_grad():
            target = paid + discount * self.next_value(after)
        value, counts = self.predicted(sample)
        miss = nn.functional.smooth_l1_loss(value, target, reduction="none") * counts
        return miss.sum() / counts.sum().clamp(min=1) + self.choice_loss(sample)

    def remembered(self, observation: Array, mask: Array, shown: Array) -> dict[str, Array]:
        """More arrays of a step for the replay to keep, name -> (B, ...); one of a usual name replaces the usual one.

        Args:
            observation, mask, shown: observation, available and shown of the step, as in a sample.
        """
        return {}

    def seen(self, observation: Array) -> Tensor:
        """(B, width) float32: what the networks see of observations (B, width)."""
        seen = self.see(observation)
        return torch.from_numpy(np.ascontiguousarray(seen if self._columns is None else seen * self._columns))

    def start(self, env: RecVectorEnv) -> None:
        """Get ready for an env.

        Raises:
            ConfigError: actions name no candidates, observations are not flat, or rewards are vectors.
        """
        super().start(env)
        name = type(self).__name__
        require_choices(env, name)
        self._columns: Array | None = None  # 1 where the networks see a column, 0 elsewhere; None: they see all
        if self.sees is not None:
            columns = np.zeros(max(block.slice.stop for block in self.layout.values()), np.float32)
            columns[columns_of(self.layout, f"{name}.sees", ("mask", *self.sees))] = 1.0
            self._columns = columns
        with torch_seed(int(self._rng.integers(2**31))):
            self.nets = self.networks(env)
        for key, net in self.nets.items():
            if self.weights:
                self.put_weights(self.weights.get(key, {}), net)

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        """The best slates; with `explore`, random ones in an epsilon of the cases."""
        null, S = int(self.env.actions.null), self.env.world.slate_size
        with torch.no_grad():
            seen, there = self.seen(observation), mask[:, null:]
            slate = self.best(seen, there)
        if explore:
            keys = np.where(there, self._rng.random(there.shape), 2.0)
            chance = np.argsort(keys, axis=1, kind="stable")[:, :S]
            if null:
                chance[self._rng.random(len(chance)) < 1 / (S + 1)] = -1
            slate = np.where((self._rng.random(len(slate)) < self._epsilon)[:, None], chance, slate)
        return self.env.actions.encode(np.where(slate < 0, 0, slate + null))

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Progress | None = None) -> None:
        """Learn online from `steps` user-steps; what was learned before is where it starts."""
        self._rng = np.random.default_rng(seed)
        self._replay, self._updates, self._budget = Replay(self.buffer, self.n_steps, self.gamma), 0, steps
        self._epsilon = self.epsilon_start
        with torch_threads(self.threads):
            super().fit(task, steps, seed, progress)
        del self._replay

    def learn(self, observation: Array, action: Array, reward: Array, next_observation: Array, terminated: Array,
              info: dict[str, Any]) -> None:  # fmt: skip
        """Remember a step of all users and take gradient steps."""
        ended = info.get("_final_obs", np.zeros(len(reward), np.bool_))
        shown = np.where(info["slate"] >= 0, self.env.actions.choices(action) - int(self.env.actions.null), -1)
        mask = observation[:, self.env.observation_layout["mask"].slice] > 0.5
        seen = self.seen(observation).numpy()
        step = {"observation": seen, "available": mask, "shown": shown, "click": info["click"],
                "reward": self.reward_scale * reward, "terminated": terminated, "cut": ended & ~terminated}  # fmt: skip
        if not self._replay.added:
            self.target_net = self.networks(self.env)["value"]
            self.target_net.load_state_dict(self.nets["value"].state_dict())
            parameters = [p for net in self.nets.values() for p in net.parameters()]
            self._adam = torch.optim.AdamW(parameters, self.learning_rate, weight_decay=self.weight_decay, fused=True)
            self.weights = {name: net.state_dict() for name, net in self.nets.items()}  # not copies: they learn on
        self._replay.add({**step, **self.remembered(seen, mask, shown)})
        done = self._replay.added * len(reward)
        if done >= self.learning_starts and self._replay.added > 1:
            share = min(done / (self._budget * self.epsilon_share), 1.0)
            self._epsilon = self.epsilon_start + share * (self.epsilon_end - self.epsilon_start)
            for group in self._adam.param_groups:
                group["lr"] = self.learning_rate * max(1 - done / self._budget, 0.0)
            for _ in range(self.gradient_steps):
                self._improve()

    def _improve(self) -> None:
        """One gradient step."""
        drawn = self._replay.sample(self.batch_size, self._rng)
        sample, after = (
            {name: torch.from_numpy(array) for name, array in arrays.items()} for arrays in (drawn.before, drawn.after)
        )
        sample["counts"] = torch.from_numpy(drawn.counts)
        loss = self.loss(sample, after, torch.from_numpy(drawn.paid), torch.from_numpy(drawn.discount))
        self._adam.zero_grad()
        loss.backward()
        self._adam.step()
        self._updates += 1
        if self._updates % self.target_update == 0:
            self.target_net.load_state_dict(self.nets["value"].state_dict())
