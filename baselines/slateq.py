"""SlateQ: the value of a slate from long-term values of its items, weighed by how likely the user picks each.

Ie, Jain, Wang, Narvekar, Agarwal, Wu, Cheng, Chandra and Boutilier, "SlateQ: a tractable decomposition for
reinforcement learning with recommendation sets", IJCAI 2019 (arXiv 1905.12767). With weights w of the items and w_0 of
picking nothing,

    Q(s, A) = (w_0 Q(s, 0) + sum_{i in A} w_i Q(s, i)) / (w_0 + sum_{i in A} w_i)                          (section 4.2)

which takes a user who picks one item at most, whatever the order. The paper gives picking nothing no value:
``no_click=False``; where a step without a click is followed by more steps, that value is most of what there is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.agent import OnlineAgent, Progress, Task
from baselines.encoders import CandidateHead, head_of, read_weights, write_weights
from recgym.envs import RecVectorEnv
from recgym.errors import require, require_count, require_number, require_option
from recgym.models.choice import MultinomialLogit, Proportional

Array = NDArray[Any]


def slate_value(weights: Tensor, values: Tensor, slate: Tensor) -> Tensor:
    """(B,) values of slates.

    Args:
        weights, values: (B, 1 + K), nothing first. slate: (B, S) int64 candidates in [0, K), -1 = nothing.
    """
    place = slate.clamp(min=0)
    w, q = weights[:, 1:].gather(1, place).masked_fill(slate < 0, 0.0), values[:, 1:].gather(1, place)
    return (weights[:, 0] * values[:, 0] + (w * q).sum(dim=1)) / (weights[:, 0] + w.sum(dim=1))


def top_k(weights: Tensor, values: Tensor, size: int) -> Tensor:
    """(B, S) candidates of the highest w_i (Q_i - Q_0), the paper's TS; those of weight 0 come last."""
    worth = weights[:, 1:] * (values[:, 1:] - values[:, :1])
    return worth.masked_fill(weights[:, 1:] <= 0, -torch.inf).topk(size, dim=1).indices


def greedy(weights: Tensor, values: Tensor, size: int) -> Tensor:
    """(B, S) candidates, each the one that makes the slate so far worth most, the paper's GS."""
    w, wq = weights[:, 1:], weights[:, 1:] * values[:, 1:]
    above, below = weights[:, :1] * values[:, :1], weights[:, :1].clone()
    free, chosen = w > 0, []
    for _ in range(size):
        worth = ((above + wq) / (below + w)).masked_fill(~free, -torch.inf)
        best = worth.argmax(dim=1, keepdim=True)
        chosen.append(best)
        above, below = above + wq.gather(1, best), below + w.gather(1, best)
        free = free.scatter(1, best, False)
    return torch.cat(chosen, dim=1)


def exact(weights: Tensor, values: Tensor, size: int) -> Tensor:
    """(B, S) candidates of the best slate, the paper's OS, by Dinkelbach's method instead of a linear programme.

    The slate of the highest ratio has the largest sum of w_i (Q_i - ratio): take that for the ratio so far, and again,
    until the ratio no longer rises (Dinkelbach, Management Science 13(7), 1967). It takes a handful of rounds.
    """
    slate = top_k(weights, values, size)
    for _ in range(50):
        ratio = slate_value(weights, values, slate)
        worth = weights[:, 1:] * (values[:, 1:] - ratio[:, None])
        better = worth.masked_fill(weights[:, 1:] <= 0, -torch.inf).topk(size, dim=1).indices
        rises = slate_value(weights, values, better) > ratio + 1e-6 * ratio.abs()
        if not rises.any():
            break
        slate = torch.where(rises[:, None], better, slate)
    return slate


OPTIMISERS = {"top-k": top_k, "greedy": greedy, "exact": exact}


@dataclass
class SlateQ(OnlineAgent):
    """SlateQ on the native batch, with a network that treats all candidates alike (`CandidateHead`).

    Args:
        target: "sarsa", the value of the slate that was shown next, or "q", of the best one by `target_optimiser`.
        optimiser: how slates are made: "top-k", "greedy" or "exact". target_optimiser: the same for the target.
        choice: "learned" from clicks, a conditional logit with the same kind of network, or "given", the world's own
            weights, which reads the user's hidden state where there is one.
        no_click: whether picking nothing has a value too, learned from the steps without a click.
        gamma: discount. width: units a layer. learning_rate: of Adam. reward_scale: factor on rewards in training.
        envs: users stepped together. buffer: steps of all of them to replay. batch_size: transitions a gradient step.
        gradient_steps: a step of all users. learning_starts: user-steps of random slates before the first.
        target_update: gradient steps between two copies to the target network.
        epsilon_start, epsilon_end, epsilon_steps: the share of random slates falls linearly over so many user-steps.
        threads: of torch in training.
    """

    target: str = "q"
    optimiser: str = "exact"
    target_optimiser: str = "exact"
    choice: str = "learned"
    no_click: bool = True
    gamma: float = 0.99
    width: int = 64
    learning_rate: float = 1e-3
    reward_scale: float = 0.1
    envs: int = 64
    buffer: int = 1000
    batch_size: int = 256
    gradient_steps: int = 4
    learning_starts: int = 2000
    target_update: int = 200
    epsilon_start: float = 1.0
    epsilon_end: float = 0.05
    epsilon_steps: int = 30_000
    threads: int = 1
    weights: dict[str, dict[str, Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)
    nets: ClassVar[tuple[str, ...]] = ("value", "pick")

    def __post_init__(self) -> None:
        require_option("SlateQ.target", self.target, ["sarsa", "q"])
        for name in ("optimiser", "target_optimiser"):
            require_option(f"SlateQ.{name}", getattr(self, name), OPTIMISERS)
        require_option("SlateQ.choice", self.choice, ["learned", "given"])
        require(isinstance(self.no_click, bool), "SlateQ.no_click", "must be True or False", self.no_click)
        for name in ("gamma", "epsilon_start", "epsilon_end"):
            require_number(f"SlateQ.{name}", getattr(self, name), 0, 1)
        for name in ("learning_rate", "reward_scale"):
            require_number(f"SlateQ.{name}", getattr(self, name), 1e-9, 1e6)
        for name, low in (("width", 1), ("envs", 1), ("buffer", 2), ("batch_size", 1), ("gradient_steps", 0),
                          ("learning_starts", 0), ("target_update", 1), ("epsilon_steps", 1), ("threads", 1)):  # fmt: skip
            require_count(f"SlateQ.{name}", getattr(self, name), low, 10**9)
        self._rng = np.random.default_rng(0)

    @property
    def privileged(self) -> bool:  # type: ignore[override]
        """Given choice weights may rest on the hidden state."""
        return self.choice == "given"

    def start(self, env: RecVectorEnv) -> None:
        """Get ready for an env.

        Raises:
            ConfigError: actions are no slates of candidates, or users may click twice; or, with `choice="given"`, the
                choice depends on positions or has no weights.
        """
        super().start(env)
        world = env.world
        require(env.actions.form in ("item", "slate"), "action", 'SlateQ needs "item" or "slate"', env.actions.form)
        require(world.choice.single, "choice", "SlateQ needs at most one click a slate", world.choice.kind)
        if self.choice == "given":
            known = isinstance(world.choice, Proportional) or (
                isinstance(world.choice, MultinomialLogit) and world.choice.decay == 0
            )
            require(known, "SlateQ.choice", '"given" needs Proportional or a MultinomialLogit without decay', world.choice)
        self._head = {**head_of(env, self.width, dueling=False), "null": True}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self._rng.integers(2**31)))
            self._nets = {name: CandidateHead(**self._head) for name in self.nets}
        for name, state in self.weights.items():
            self._nets[name].load_state_dict(state)

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        """The best slates; with `explore`, random ones in an epsilon of the cases."""
        null = int(self.env.actions.null)
        with torch.no_grad():
            seen = torch.from_numpy(np.ascontiguousarray(observation))
            weights = self._weights(seen, mask[:, null:])
            slate = OPTIMISERS[self.optimiser](weights, self._values(self._nets["value"], seen), self.env.world.slate_size)
            chosen = slate.numpy()
        self._now = weights.numpy()
        if explore:
            keys = np.where(mask[:, null:], self._rng.random(mask[:, null:].shape), 2.0)
            chance = np.argsort(keys, axis=1, kind="stable")[:, : self.env.world.slate_size]
            chosen = np.where((self._rng.random(len(chosen)) < self._epsilon)[:, None], chance, chosen)
        chosen = chosen + null
        return chosen[:, 0] if self.env.actions.form == "item" else chosen

    def _weights(self, observation: Tensor, mask: Array) -> Tensor:
        """(B, 1 + K) weights of picking nothing and each candidate; 0 where there is none."""
        if self.choice == "learned":
            logits = self._nets["pick"](observation)
            weights = torch.exp(logits - logits.amax(dim=1, keepdim=True))
        else:
            users, choice = self.env.get_state().users, self.env.world.choice
            utility, outside, _, _ = self.env.world.appraise(users, users.candidates)
            v = torch.from_numpy(utility)
            if isinstance(choice, Proportional):
                weights = torch.cat([torch.full_like(v[:, :1], choice.null), (v + choice.shift).clamp(min=0)], dim=1)
            else:
                nothing = torch.from_numpy(outside)[:, None] + choice.null  # type: ignore[attr-defined]
                weights = torch.softmax(torch.cat([nothing, v], dim=1), dim=1)
        there = torch.from_numpy(np.ascontiguousarray(mask))
        return torch.cat([weights[:, :1], weights[:, 1:].masked_fill(~there, 0.0)], dim=1)

    def _values(self, net: CandidateHead, observation: Tensor) -> Tensor:
        """(B, 1 + K) values of picking nothing and each candidate."""
        values = net(observation)
        return values if self.no_click else torch.cat([torch.zeros_like(values[:, :1]), values[:, 1:]], dim=1)

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Progress | None = None) -> None:
        """Learn online from `steps` user-steps; what was learned before is where it starts."""
        self._rng = np.random.default_rng(seed)
        self._replay, self._steps, self._updates, self._epsilon = {}, 0, 0, self.epsilon_start
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            super().fit(task, steps, seed, self._keeping(progress))
        finally:
            torch.set_num_threads(before)
        self._replay = {}

    def _keeping(self, progress: Progress | None) -> Progress:
        def report(done: int, numbers: dict[str, float]) -> None:
            self.weights = {name: net.state_dict() for name, net in self._nets.items()}
            if progress is not None:
                progress(done, numbers)

        return report

    def learn(self, observation: Array, action: Array, reward: Array, next_observation: Array, terminated: Array,
              info: dict[str, Any]) -> None:  # fmt: skip
        """Remember a step of all users and take gradient steps."""
        null, S = int(self.env.actions.null), self.env.world.slate_size
        ended = info.get("_final_obs", np.zeros(len(reward), np.bool_))
        shown = np.where(info["slate"] >= 0, action.reshape(-1, S) - null, -1)
        picked = np.where(info["click"].any(axis=1), np.take_along_axis(shown, info["click"].argmax(axis=1)[:, None], 1)[:, 0], -1)
        step = {"observation": observation, "weights": self._now, "shown": shown, "picked": picked,
                "reward": self.reward_scale * reward, "terminated": terminated, "cut": ended & ~terminated}  # fmt: skip
        at = self._steps % self.buffer
        for name, value in step.items():
            if name not in self._replay:
                kind = np.float32 if value.dtype == np.float64 else value.dtype
                self._replay[name] = np.zeros((self.buffer, *value.shape), kind)
            self._replay[name][at] = value
        if self._steps == 0:
            self._target = CandidateHead(**self._head)
            self._target.load_state_dict(self._nets["value"].state_dict())
            parameters = [p for net in self._nets.values() for p in net.parameters()]
            self._adam = torch.optim.Adam(parameters, lr=self.learning_rate, fused=True)
        self._steps += 1
        done = self._steps * len(reward)
        if done >= self.learning_starts and self._steps > 1:
            share = min((done - self.learning_starts) / self.epsilon_steps, 1.0)
            self._epsilon = self.epsilon_start + share * (self.epsilon_end - self.epsilon_start)
            for _ in range(self.gradient_steps):
                self._improve()

    def _improve(self) -> None:
        """One gradient step on the values, and on the choice where it is learned."""
        filled = min(self._steps, self.buffer)
        # The step after the newest is not there yet, nor is, in a full buffer, the one after the newest in its place.
        t = (self._steps - 2 - self._rng.integers(0, filled - 1, self.batch_size)) % self.buffer
        row = self._rng.integers(0, self.envs, self.batch_size)
        after = (t + 1) % self.buffer
        sample = {name: torch.from_numpy(values[t, row]) for name, values in self._replay.items()}
        following = {name: torch.from_numpy(self._replay[name][after, row]) for name in ("observation", "weights", "shown")}
        with torch.no_grad():
            values = self._values(self._target, following["observation"])
            weights = following["weights"]
            if self.choice == "learned":
                weights = self._weights(following["observation"], (weights[:, 1:] > 0).numpy())
            if self.target == "sarsa":
                slate = following["shown"]
            else:
                slate = OPTIMISERS[self.target_optimiser](weights, values, sample["shown"].shape[1])
            future = slate_value(weights, values, slate)
            goal = sample["reward"] + self.gamma * future.masked_fill(sample["terminated"], 0.0)
        value = self._nets["value"](sample["observation"]).gather(1, 1 + sample["picked"][:, None])[:, 0]
        counts = ~sample["cut"] & (self.no_click | (sample["picked"] >= 0))
        loss = (torch.nn.functional.smooth_l1_loss(value, goal, reduction="none") * counts).sum() / counts.sum().clamp(min=1)
        if self.choice == "learned":
            logits = self._nets["pick"](sample["observation"])
            shown = torch.cat([torch.zeros_like(sample["shown"][:, :1]), 1 + sample["shown"]], dim=1)
            there = torch.cat([torch.ones_like(shown[:, :1], dtype=torch.bool), sample["shown"] >= 0], dim=1)
            total = logits.gather(1, shown).masked_fill(~there, -torch.inf).logsumexp(dim=1)
            loss = loss + (total - logits.gather(1, 1 + sample["picked"][:, None])[:, 0]).mean()
        self._adam.zero_grad()
        loss.backward()
        self._adam.step()
        self._updates += 1
        if self._updates % self.target_update == 0:
            self._target.load_state_dict(self._nets["value"].state_dict())

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``agent.json`` and ``slateq.pt``, each atomically."""
        write_weights(folder, "slateq.pt", self.weights)
        super().save(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. Nothing is unpickled but plain tensors (``weights_only=True``).

        Raises:
            ConfigError: no SlateQ there.
        """
        agent = super().load(folder)
        agent.weights = read_weights(folder, "slateq.pt")
        return agent
