"""SlateQ: the value of a slate from long-term values of its items, weighed by how likely the user picks each.

Ie, Jain, Wang, Narvekar, Agarwal, Wu, Cheng, Chandra and Boutilier, "SlateQ: a tractable decomposition for
reinforcement learning with recommendation sets", IJCAI 2019 (arXiv 1905.12767). With weights w of the items and w_0 of
picking nothing,

    Q(s, A) = (w_0 Q(s, 0) + sum_{i in A} w_i Q(s, i)) / (w_0 + sum_{i in A} w_i)                          (section 4.2)

for users who pick one item at most. Where users pick several, each shown item adds its own part, with the probability
p_i that it is picked:

    Q(s, A) = Q(s, 0) + sum_{i in A} p_i (Q(s, i) - Q(s, 0))

Two things beyond the paper: picking nothing has a value too (``no_click``), as a step without a click is followed by
more steps; and returns of many steps (``n_steps``), as what a click does to a hidden state (time left, satisfaction)
shows up long after the observations have forgotten the click.

`FullSlateQ` is what SlateQ is compared with: one value for each slate.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.agent import OnlineAgent, Progress, Task, columns_of, require_choices
from baselines.encoders import (
    MAX_THREADS,
    MAX_WIDTH,
    CandidateHead,
    Mean,
    TorchAgent,
    head_of,
    narrow,
    read_block,
    torch_seed,
    torch_threads,
)
from recgym.envs import RecVectorEnv
from recgym.errors import require, require_count, require_number, require_option
from recgym.models.choice import MultinomialLogit, Proportional

Array = NDArray[Any]
MAX_SLATES = 5000  # that FullSlateQ enumerates


def slate_value(weights: Tensor, values: Tensor, slate: Tensor) -> Tensor:
    """(B,) values of slates of which one item at most is picked.

    Args:
        weights, values: (B, 1 + K), nothing first. slate: (B, S) int64 candidates in [0, K), -1 = nothing.
    """
    place = slate.clamp(min=0)
    w, q = weights[:, 1:].gather(1, place).masked_fill(slate < 0, 0.0), values[:, 1:].gather(1, place)
    return (weights[:, 0] * values[:, 0] + (w * q).sum(dim=1)) / (weights[:, 0] + w.sum(dim=1))


def sum_value(weights: Tensor, values: Tensor, slate: Tensor) -> Tensor:
    """(B,) values of slates of which several items may be picked; arguments of `slate_value`, weights probabilities."""
    place = slate.clamp(min=0)
    worth = weights[:, 1:].gather(1, place) * (values[:, 1:].gather(1, place) - values[:, :1])
    return values[:, 0] + worth.masked_fill(slate < 0, 0.0).sum(dim=1)


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
class SlateLearner(TorchAgent, OnlineAgent):
    """What SlateQ and FullSlateQ share: replay, returns of n steps, exploration, gradient steps, files.

    Args:
        gamma: discount. n_steps: rewards summed up before a value takes over, uncorrected for what the policy would do
            now; an episode that is cut at the horizon stops the sum a step before.
        width: units a layer. learning_rate: of AdamW, falls linearly to 0. weight_decay: times the learning rate.
        reward_scale: factor on rewards in training.
        envs: users stepped together. buffer: steps of all of them to replay. batch_size: transitions a gradient step.
        gradient_steps: a step of all users. learning_starts: user-steps of random slates before the first.
        target_update: gradient steps between two copies to the target network.
        epsilon_start, epsilon_end, epsilon_share: the share of random slates falls linearly from one to the other over
            this share of the training. Where nothing can be shown, 1 in S + 1 of the random slates is empty.
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
    in_training = (*OnlineAgent.in_training, "_replay", "_adam", "_target")

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

    def _shown(self, observation: Array) -> Tensor:
        """What the networks see of it."""
        return torch.from_numpy(self.see(observation) * self._seen)

    @abstractmethod
    def _networks(self, env: RecVectorEnv) -> dict[str, nn.Module]:
        """New networks for an env; "value" has a copy as its target."""

    @abstractmethod
    def _best(self, observation: Tensor, mask: Array) -> Array:
        """(B, S) candidates of the best slates, -1 = nothing."""

    @abstractmethod
    def _loss(self, sample: dict[str, Tensor], after: dict[str, Tensor], paid: Tensor, discount: Tensor) -> Tensor:
        """Loss of a sample of steps.

        Args:
            sample: of each step observation, available (B, K) bool, shown (B, S) candidates (-1 = nothing), click
                (B, S) bool, counts (B,) bool (whether its return is known). after: the same of the step after the
                return. paid: (B,) its rewards. discount: (B,) of the value that follows it, 0 after the end.
        """

    def start(self, env: RecVectorEnv) -> None:
        """Get ready for an env.

        Raises:
            ConfigError: actions are no slates of candidates, or observations not flat.
        """
        super().start(env)
        name = type(self).__name__
        require_choices(env, name)
        self._seen = np.zeros(max(block.slice.stop for block in self.layout.values()), np.float32)
        self._seen[
            slice(None) if self.sees is None else columns_of(self.layout, f"{name}.sees", ("mask", *self.sees))
        ] = 1.0
        with torch_seed(int(self._rng.integers(2**31))):
            self._nets = self._networks(env)
        for key, net in self._nets.items():
            if self.weights:
                self._put(self.weights.get(key, {}), net)

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        """The best slates; with `explore`, random ones in an epsilon of the cases."""
        null, S = int(self.env.actions.null), self.env.world.slate_size
        with torch.no_grad():
            shown, there = self._shown(observation), mask[:, null:]
            slate = self._best(shown, there)
        if explore:
            keys = np.where(there, self._rng.random(there.shape), 2.0)
            chance = np.argsort(keys, axis=1, kind="stable")[:, :S]
            if null:
                chance[self._rng.random(len(chance)) < 1 / (S + 1)] = -1
            slate = np.where((self._rng.random(len(slate)) < self._epsilon)[:, None], chance, slate)
        chosen = np.where(slate < 0, 0, slate + null)
        return chosen[:, 0] if self.env.actions.form == "item" else chosen

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Progress | None = None) -> None:
        """Learn online from `steps` user-steps; what was learned before is where it starts."""
        self._rng = np.random.default_rng(seed)
        self._replay, self._steps, self._updates, self._budget = {}, 0, 0, steps
        self._epsilon = self.epsilon_start
        with torch_threads(self.threads):
            super().fit(task, steps, seed, progress)
        self._replay = {}

    def learn(self, observation: Array, action: Array, reward: Array, next_observation: Array, terminated: Array,
              info: dict[str, Any]) -> None:  # fmt: skip
        """Remember a step of all users and take gradient steps."""
        null, S = int(self.env.actions.null), self.env.world.slate_size
        ended = info.get("_final_obs", np.zeros(len(reward), np.bool_))
        shown = np.where(info["slate"] >= 0, action.reshape(-1, S) - null, -1)
        mask = observation[:, self.env.observation_layout["mask"].slice] > 0.5
        seen = self._shown(observation).numpy()
        step = {"observation": seen, "available": mask, "shown": shown, "click": info["click"],
                "reward": self.reward_scale * reward, "terminated": terminated, "cut": ended & ~terminated}  # fmt: skip
        step |= self._instead(seen, mask, shown)
        at = self._steps % self.buffer
        for name, value in step.items():
            if name not in self._replay:
                kind = np.float32 if value.dtype == np.float64 else value.dtype
                self._replay[name] = np.zeros((self.buffer, *value.shape), kind)
            self._replay[name][at] = value
        if self._steps == 0:
            self._target = self._networks(self.env)["value"]
            self._target.load_state_dict(self._nets["value"].state_dict())
            parameters = [p for net in self._nets.values() for p in net.parameters()]
            self._adam = torch.optim.AdamW(parameters, self.learning_rate, weight_decay=self.weight_decay, fused=True)
            self.weights = {name: net.state_dict() for name, net in self._nets.items()}  # living: they learn on
        self._steps += 1
        done = self._steps * len(reward)
        if done >= self.learning_starts and self._steps > 1:
            share = min(done / (self._budget * self.epsilon_share), 1.0)
            self._epsilon = self.epsilon_start + share * (self.epsilon_end - self.epsilon_start)
            for group in self._adam.param_groups:
                group["lr"] = self.learning_rate * max(1 - done / self._budget, 0.0)
            for _ in range(self.gradient_steps):
                self._improve()

    def _instead(self, seen: Array, mask: Array, shown: Array) -> dict[str, Array]:
        """What else of a step is to be remembered, or otherwise."""
        return {}

    def _improve(self) -> None:
        """One gradient step."""
        newest = self._steps - 1  # what follows it is not known yet
        t = newest - 1 - self._rng.integers(0, min(self._steps, self.buffer) - 1, self.batch_size)
        row = self._rng.integers(0, self.envs, self.batch_size)
        paid, after, discount, counts = self._returns(t, row, newest)
        sample, following = (
            {name: torch.from_numpy(values[time % self.buffer, row]) for name, values in self._replay.items()}
            for time in (t, after)
        )
        sample["counts"] = torch.from_numpy(counts)
        loss = self._loss(sample, following, torch.from_numpy(paid), torch.from_numpy(discount))
        self._adam.zero_grad()
        loss.backward()
        self._adam.step()
        self._updates += 1
        if self._updates % self.target_update == 0:
            self._target.load_state_dict(self._nets["value"].state_dict())

    def _returns(self, t: Array, row: Array, newest: int) -> tuple[Array, Array, Array, Array]:
        """Of steps t: discounted rewards of up to n steps, the step whose value follows, its discount, whether any.

        The sum ends with the episode, before a step that is cut, and before the newest step.
        """
        ahead = np.arange(self.n_steps)[:, None]
        steps = (t + ahead) % self.buffer
        terminated, cut = self._replay["terminated"][steps, row], self._replay["cut"][steps, row]
        counts = (t + ahead < newest) & ~np.logical_or.accumulate(cut, axis=0)
        counts[1:] &= ~np.logical_or.accumulate(terminated, axis=0)[:-1]
        discounts = np.float32(self.gamma) ** ahead
        paid = (self._replay["reward"][steps, row] * counts * discounts).sum(axis=0, dtype=np.float32)
        taken = counts.sum(axis=0)
        goes_on = ~(terminated & counts).any(axis=0)
        return paid, t + taken, (self.gamma**taken * goes_on).astype(np.float32), taken > 0


def _there(weights: Tensor, slate: Tensor) -> Tensor:
    """The slate (B, S) without candidates of weight 0, which are not there: -1 for them."""
    return slate.masked_fill(weights[:, 1:].gather(1, slate.clamp(min=0)) <= 0, -1)


@dataclass
class SlateQ(SlateLearner):
    """SlateQ on the native batch, with a network that treats all candidates alike (`CandidateHead`).

    Args:
        target: "sarsa", the value of the slate that was shown next, or "q", of the best one by `target_optimiser`.
        optimiser: how slates are made: "top-k", "greedy" or "exact". target_optimiser: the same for the target. Where
            several items may be picked, the value of a slate is a sum, and all three are "top-k".
        choice_model: "learned" from clicks, with the same kind of network and a term for each position: a conditional logit
            where one item at most is picked, else a logit for each item. Or "given", the world's own weights, which
            read the user's hidden state where there is one.
        no_click: whether picking nothing has a value too, learned from the steps without a click.
        dueling: whether a state has a value that its candidates share, see `CandidateHead`.
        shown_only: whether training looks at none but the candidates shown, as large catalogues ask for; what is kept
            of a step is small, too. Values are learned as differences from that of picking nothing. Needs
            target="sarsa", choice_model="learned", no_click=True and dueling=False.
        Others: see `SlateLearner`.
    """

    target: str = "q"
    optimiser: str = "exact"
    target_optimiser: str = "exact"
    choice_model: str = "learned"
    no_click: bool = True
    dueling: bool = True
    shown_only: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_option("SlateQ.target", self.target, ["sarsa", "q"])
        for name in ("optimiser", "target_optimiser"):
            require_option(f"SlateQ.{name}", getattr(self, name), OPTIMISERS)
        require_option("SlateQ.choice_model", self.choice_model, ["learned", "given"])
        if self.shown_only:
            for name, needed in (
                ("target", "sarsa"),
                ("choice_model", "learned"),
                ("no_click", True),
                ("dueling", False),
            ):
                fits = getattr(self, name) == needed
                require(fits, f"SlateQ.{name}", f"must be {needed!r} with shown_only=True", getattr(self, name))

    @property
    def privileged(self) -> bool:  # type: ignore[override]
        """Given choice weights may rest on the hidden state."""
        return self.choice_model == "given"

    def start(self, env: RecVectorEnv) -> None:
        """Get ready for an env.

        Raises:
            ConfigError: actions are no slates of candidates, or observations not flat; or, with `choice_model="given"`, the
                choice has no weights, or depends on positions.
        """
        if self.choice_model == "given":
            choice = env.world.choice
            known = isinstance(choice, Proportional) or (isinstance(choice, MultinomialLogit) and choice.decay == 0)
            require(
                known, "SlateQ.choice_model", '"given" needs Proportional or a MultinomialLogit without decay', choice
            )
        self._single = env.world.choice.single
        super().start(env)

    def _networks(self, env: RecVectorEnv) -> dict[str, nn.Module]:
        head = head_of(env, self.width, self.dueling, layout=self.layout)
        nets: dict[str, nn.Module] = {"value": CandidateHead(**{**head, "null": 1 + env.actions.null})}
        if self.choice_model == "learned":
            nets["pick"] = CandidateHead(**{**head, "null": 1, "dueling": False})
            nets["place"] = nn.Embedding.from_pretrained(torch.zeros(env.world.slate_size, 1), freeze=False)
        return nets

    def values(self, observation: Array, mask: Array) -> Array:
        """(B, n) float32 values of showing each choice alone, in units of the training reward; -inf where there is none."""
        null = int(self.env.actions.null)
        with torch.no_grad():
            seen = self._shown(observation)
            weights, (values, rest) = self._weights(seen, mask[:, null:]), self._values(self._nets["value"], seen)
            slates = torch.arange(weights.shape[1] - 1).expand(len(mask), -1)[:, :, None]
            alone = [self._slate_value(weights, values, slate) for slate in slates.unbind(dim=1)]
            out = torch.stack([rest, *alone] if null else alone, dim=1)
        return np.where(mask, out.numpy(), -np.inf).astype(np.float32)

    def _best(self, observation: Tensor, mask: Array) -> Array:
        weights, (values, rest) = self._weights(observation, mask), self._values(self._nets["value"], observation)
        slate = self._optimise(self.optimiser, weights, values)
        if self.env.actions.null:
            slate = torch.where((rest > self._slate_value(weights, values, slate))[:, None], -1, slate)
        return slate.numpy()

    def _optimise(self, optimiser: str, weights: Tensor, values: Tensor) -> Tensor:
        """(B, S) candidates of the best slates, -1 where there are no more."""
        size = self.env.world.slate_size
        return _there(weights, OPTIMISERS[optimiser if self._single else "top-k"](weights, values, size))

    def _slate_value(self, weights: Tensor, values: Tensor, slate: Tensor) -> Tensor:
        """(B,) values of slates (B, S), -1 = nothing."""
        return (slate_value if self._single else sum_value)(weights, values, slate)

    def _weights(self, observation: Tensor, mask: Array) -> Tensor:
        """(B, 1 + K) weights of picking nothing and each candidate, or probabilities; 0 where there is none."""
        if self.choice_model == "learned":
            logits = self._nets["pick"](observation)
            if self._single:
                weights = torch.exp(logits - logits.amax(dim=1, keepdim=True))
            else:
                weights = torch.sigmoid(logits)
        else:
            users, choice = self.env.get_state().users, self.env.world.choice
            utility, outside, _, _ = self.env.world.appraise(users, users.candidates)
            v = torch.from_numpy(utility)
            if isinstance(choice, Proportional):
                weights = torch.cat([torch.full_like(v[:, :1], choice.null), (v + choice.shift).clamp(min=0)], dim=1)
            else:
                nothing = torch.from_numpy(outside)[:, None] + choice.null  # type: ignore[attr-defined]
                weights = torch.softmax(torch.cat([nothing, v], dim=1), dim=1)
        there = torch.from_numpy(np.array(mask))
        return torch.cat([weights[:, :1], weights[:, 1:].masked_fill(~there, 0.0)], dim=1)

    def _values(self, net: nn.Module, observation: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1 + K) values of picking nothing and each candidate, (B,) of being shown nothing (0 where that cannot be)."""
        out = net(observation)
        null = int(self.env.actions.null)
        rest, nothing = (out[:, 0] if null else torch.zeros_like(out[:, 0])), out[:, null : null + 1]
        nothing = nothing if self.no_click else torch.zeros_like(nothing)
        items = nothing + out[:, 1 + null :] if self.shown_only else out[:, 1 + null :]
        return torch.cat([nothing, items], dim=1), rest

    def _instead(self, seen: Array, mask: Array, shown: Array) -> dict[str, Array]:
        if self.shown_only:
            return {
                "observation": narrow(seen, shown, self.layout),
                "available": shown >= 0,
                "shown": np.where(shown >= 0, np.arange(shown.shape[1]), -1),
            }
        if self.choice_model == "learned":
            return {}
        return {"weights": self._weights(torch.from_numpy(seen), mask).numpy()}

    def _loss(self, sample: dict[str, Tensor], after: dict[str, Tensor], paid: Tensor, discount: Tensor) -> Tensor:
        with torch.no_grad():
            (values, rest), weights = self._values(self._target, after["observation"]), after.get("weights")
            if weights is None:
                weights = self._weights(after["observation"], after["available"].numpy())
            if self.target == "sarsa":
                slate = _there(weights, after["shown"])
            else:
                slate = self._optimise(self.target_optimiser, weights, values)
            future = self._slate_value(weights, values, slate)
            if self.env.actions.null:
                empty = (after["shown"] < 0).all(dim=1) if self.target == "sarsa" else rest > future
                future = torch.where(empty, rest, future)
            goal = paid + discount * future
        values, rest = self._values(self._nets["value"], sample["observation"])
        shown, click = sample["shown"].clamp(min=0), sample["click"]
        value = values[:, 0] + ((values[:, 1:].gather(1, shown) - values[:, :1]) * click).sum(dim=1)
        counts = sample["counts"]
        if self.env.actions.null:
            value = torch.where((sample["shown"] < 0).all(dim=1), rest, value)
        if not self.no_click:
            counts = counts & click.any(dim=1)
        loss = (nn.functional.smooth_l1_loss(value, goal, reduction="none") * counts).sum() / counts.sum().clamp(min=1)
        return loss + self._choice_loss(sample) if self.choice_model == "learned" else loss

    def _choice_loss(self, sample: dict[str, Tensor]) -> Tensor:
        """Minus log likelihood of the clicks, a step."""
        logits, there, click = self._nets["pick"](sample["observation"]), sample["shown"] >= 0, sample["click"]
        place = self._nets["place"].weight[:, 0]  # type: ignore[index]
        shown = logits[:, 1:].gather(1, sample["shown"].clamp(min=0)) + place - place[:1]
        if not self._single:
            return (
                (nn.functional.binary_cross_entropy_with_logits(shown, click.float(), reduction="none") * there)
                .sum(1)
                .mean()
            )
        every = torch.cat([logits[:, :1], shown.masked_fill(~there, -torch.inf)], dim=1)
        picked = torch.cat([~click.any(dim=1, keepdim=True), click], dim=1)
        return (every.logsumexp(dim=1) - every.masked_fill(~picked, 0.0).sum(dim=1)).mean()


class SlateNet(nn.Module):
    """(B, L) values of L whole slates: of the user and history as in `CandidateHead`, and the items of the slate in a row.

    Args:
        slates: (L, S) int64 candidates. Others: as `CandidateHead`.
    """

    def __init__(self, slates: Tensor, head: dict[str, Any]) -> None:
        super().__init__()
        self.slates, self.head, width = slates, head, head["width"]
        self.user, self.candidates = slice(*head["user"]), slice(*head["candidates"][:2])
        rows, columns = head["history"][2:]
        self.place = Mean(rows, columns, width)
        self.context = nn.Linear(head["user"][1] - head["user"][0] + width, width)
        self.items = nn.ModuleList(
            [nn.Linear(head["candidates"][3], width, bias=False) for _ in range(slates.shape[1])]
        )
        self.top = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, observation: Tensor) -> Tensor:
        """(B, width of the observation) -> (B, L)."""
        read = read_block(self.place, observation, self.head["history"])
        first = self.context(torch.cat([observation[:, self.user], read], dim=1))[:, None]
        x = observation[:, self.candidates].unflatten(1, self.head["candidates"][2:])
        for s, layer in enumerate(self.items):
            first = first + layer(x)[:, self.slates[:, s]]
        return self.top(first)[:, :, 0]


@dataclass
class FullSlateQ(SlateLearner):
    """Q-learning with a value for each set of S candidates: what SlateQ's decomposition saves.

    There are K over S sets; they are enumerated, and there must be at most 5000. Their items come in the order of the
    candidates. Arguments: see `SlateLearner`.
    """

    def start(self, env: RecVectorEnv) -> None:
        """Get ready for an env.

        Raises:
            ConfigError: actions are no slates of candidates, there are too many, or one that shows nothing is allowed.
        """
        K, S = env.world.n_candidates, env.world.slate_size
        require(
            comb(K, S) <= MAX_SLATES,
            "slate_size",
            f"FullSlateQ needs at most {MAX_SLATES} sets of candidates",
            comb(K, S),
        )
        require(not env.actions.null, "null_action", "FullSlateQ needs False", True)
        self._slates = torch.tensor(list(combinations(range(K), S)))
        super().start(env)

    def _networks(self, env: RecVectorEnv) -> dict[str, nn.Module]:
        return {"value": SlateNet(self._slates, head_of(env, self.width, False, layout=self.layout))}

    def _valued(self, net: nn.Module, observation: Tensor, mask: Tensor) -> Tensor:
        """(B, L) values, -inf for slates with an empty candidate; if all have one, as they are."""
        value, there = net(observation), mask[:, self._slates].all(dim=2)
        return value.masked_fill(~there & there.any(dim=1, keepdim=True), -torch.inf)

    def values(self, observation: Array, mask: Array) -> Array:
        """(B, n) float32 values of the best slate with each choice, in units of the training reward; -inf where none is."""
        with torch.no_grad():
            value = self._valued(self._nets["value"], self._shown(observation), torch.from_numpy(mask))
        holds = torch.stack([(self._slates == k).any(dim=1) for k in range(mask.shape[1])])
        best = torch.stack([value[:, rows].amax(dim=1) for rows in holds], dim=1)
        return np.where(mask, best.numpy(), -np.inf).astype(np.float32)

    def _best(self, observation: Tensor, mask: Array) -> Array:
        value = self._valued(self._nets["value"], observation, torch.from_numpy(np.array(mask)))
        return self._slates[value.argmax(dim=1)].numpy()

    def _loss(self, sample: dict[str, Tensor], after: dict[str, Tensor], paid: Tensor, discount: Tensor) -> Tensor:
        with torch.no_grad():
            future = self._valued(self._target, after["observation"], after["available"]).amax(dim=1)
            goal = paid + discount * future
        shown = sample["shown"].sort(dim=1).values
        same = (shown[:, None] == self._slates).all(dim=2)
        counts = sample["counts"] & same.any(dim=1)
        value = (self._nets["value"](sample["observation"]) * same).sum(dim=1)
        return (nn.functional.smooth_l1_loss(value, goal, reduction="none") * counts).sum() / counts.sum().clamp(min=1)
