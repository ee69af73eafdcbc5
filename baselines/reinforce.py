"""REINFORCE for slates: a softmax over candidates, learned with the top-K off-policy correction.

Chen, Beutel, Covington, Jain, Belletti and Chi, "Top-K off-policy correction for a REINFORCE recommender system", WSDM
2019 (arXiv 1812.02353). Each item i that a behaviour policy beta has shown moves the policy pi along

    min(pi(i) / beta(i), cap)  *  K (1 - pi(i))^(K - 1)  *  (return - baseline)  *  grad log pi(i)

which, without the cap, is in expectation the gradient of sum_i (1 - (1 - pi(i))^K) (return - baseline): an item that K
draws will hardly miss need not grow further, so that the next ones can. With K = 1 it is REINFORCE (Williams, Machine
Learning 8, 1992). Only the present step is weighted: what followed it under beta stands for what would have followed it
under pi, the paper's first-order approximation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.agent import OnlineAgent, Progress, Task, last_observations
from baselines.encoders import MAX_THREADS, MAX_WIDTH, CandidateHead, TorchAgent, head_of, torch_seed, torch_threads
from baselines.requirements import require_choices
from recgym.envs import RecVectorEnv
from recgym.errors import require_count, require_number, require_option

Array = NDArray[Any]
NEVER = -1e9  # the logit of what cannot be chosen; finite, so that nothing to choose from gives no NaN


def surrogate(log_pi: Tensor, beta: Tensor, advantage: Tensor, K: int, cap: float) -> Tensor:
    """Terms whose gradients are the corrected ones; all (B, S).

    Args:
        log_pi: log-probability of each item shown, at one draw from the policy. beta: its propensity, see `propensity`.
        advantage: return minus baseline. K: items per slate. cap: largest weight pi / beta.
    """
    pi = log_pi.detach().exp()
    return (pi / beta).clamp(max=cap) * K * (1 - pi).clamp(min=0) ** (K - 1) * advantage * log_pi


def propensity(pi: Array, there: Array, K: int, uniform: float, null: bool = False) -> Array:
    """(B, n) float64: the share of each choice in the items that the behaviour policy shows, its beta.

    K draws from pi have a choice among them with probability 1 - (1 - pi)^K, a random slate with K / n; beta is a
    K-th of that. Slates are drawn without replacement, for which the first is an approximation where K > 1. With
    `null`, choice 0 ends the slate, and others are shown if they are drawn before it.

    Args:
        pi: (B, n) probabilities of one draw. there: (B, n) bool, what can be chosen. K: items per slate.
        uniform: share of random slates. null: whether choice 0 is to show nothing more.
    """
    n = np.maximum(there.sum(axis=1, keepdims=True), 1)
    size = np.minimum(K, n)
    drawn, chance = 1 - (1 - pi) ** K, size / n * there
    if null:
        either = pi[:, :1] + pi[:, 1:]
        drawn[:, 1:] = pi[:, 1:] * (1 - (1 - either).clip(min=0) ** K) / np.maximum(either, 1e-12)
        chance[:, 1:] *= 1 - (size - 1) / (2 * np.maximum(n - 1, 1))
    return ((1 - uniform) * drawn + uniform * chance) / K


def slate_log_prob(logits: Tensor, choice: Tensor, shown: Tensor, null: bool = False) -> Tensor:
    """(B,) log-probability of ordered slates drawn without replacement (Plackett 1975; Luce 1959).

    With `null`, choice 0 can be drawn at the first position only, where it means to show nothing at all.

    Args:
        logits: (B, n), very low where there is nothing. choice: (B, S) int64. shown: (B, S) bool, the positions that count.
    """
    drawn = nn.functional.one_hot(choice, logits.shape[1]).bool()
    if null:
        drawn[:, :, 0] = True  # gone after the first draw, whatever that was
    gone = torch.cat([torch.zeros_like(drawn[:, :1]), drawn.cumsum(dim=1)[:, :-1] > 0], dim=1)
    rest = logits[:, None].masked_fill(gone, NEVER).logsumexp(dim=2)
    return (logits.gather(1, choice) - rest).masked_fill(~shown, 0.0).sum(dim=1)


def returns(reward: Tensor, after: Tensor, ended: Tensor, gamma: float, trace: float) -> Tensor:
    """(T, B) discounted returns of a segment: TD(lambda) targets (Sutton 1988).

    Args:
        reward: (T, B). after: (T, B) value of the state that each step leads to, 0 where the user has left.
        ended: (T, B) bool, whether the next row belongs to another episode. gamma: discount.
        trace: lambda; 0 looks one step ahead, 1 to the end of the episode or segment, as REINFORCE does.
    """
    found = torch.empty_like(reward)
    following = after[-1]
    for t in reversed(range(len(reward))):
        ahead = torch.where(ended[t], after[t], (1 - trace) * after[t] + trace * following)
        following = found[t] = reward[t] + gamma * ahead
    return found


@dataclass
class Reinforce(TorchAgent, OnlineAgent):
    """A softmax over candidates, learned by policy gradient from slates of its own or from random ones.

    The logits come from a `CandidateHead`; recommending nothing, where that is an action, is a choice with a logit of
    its own, which ends the slate: drawn first, nothing at all is shown. In training slates are drawn without
    replacement (the largest logits after Gumbel noise: Plackett-Luce), afterwards the largest logits are shown, or
    draws again (``stochastic``). Each segment of steps is used for several epochs; from the second gradient step on, its
    slates are those of another policy than the present one, which the correction accounts for.

    **For long sessions** take ``gamma=1``, long segments of many users (``segment=64, envs=256, batch_size=1024``) and
    ``likelihood="slate"``: returns of whole sessions are noisy, and with fewer users some seeds settle on slates that
    please at once and end sessions early.

    **Credit.** Each item shown gets the return of the whole slate: the reward of the step and the discounted value of
    what followed. To pay the reward of the step to the clicked items alone ignores what the others did to the slate, and
    learned NewsSlate worse: 12.6 +- 0.2 per session instead of 17.4 +- 0.2 (one run each of 50,000 steps).

    **Baseline.** The value of a state is sum_k pi(k) q(k), with q from a second head, fitted to the returns. It stands for
    what follows a segment, or an episode cut at the horizon. Advantages are scaled to a standard deviation of 1.

    **Variants** override `networks`, `gain` (what the policy climbs) or `state_value` (the baseline).

    **Cost.** 20,000 user-steps of Ecommerce took 11 s on one processor, without evaluation.

    Args:
        gamma: discount per step, in [0, 1].
        trace: the lambda of TD(lambda), in [0, 1]: how far returns look ahead before they trust the baseline.
        stochastic: whether slates are drawn after training, too. The items of the largest logits are much alike; draws
            vary the slate, which pays where users tire of a topic.
        uniform: share of training slates that are random, in [0, 1]; with 1 all is learned from a random logging policy.
        likelihood: what is weighted. "top-k": each item by itself, with the paper's correction; nothing, drawn at any
            position, ends the slate. "slate": the ordered slate as a whole, by its exact probability; nothing can be drawn
            at the first position only, so that its logit need not say how long slates are, too.
        cap: largest importance weight pi / beta, > 0: bias for less variance. The paper's is e^3, about 20.
        entropy_start, entropy_end: weight of the policy's entropy, >= 0; falls linearly over training.
        width: units per layer. learning_rate: of Adam, > 0; falls linearly to a twentieth. clip: largest gradient norm.
        reward_scale: factor on rewards in training, > 0, so that returns are of the order of 1.
        envs: users stepped together. segment: steps of all of them between two rounds of learning.
        epochs: how often a segment is used. batch_size: user-steps per gradient step. threads: of torch in training.
        objective_weights: weights of the objectives it is trained for; None: the task's own reward.
        expected_reward: whether it is trained on expected instead of realised rewards, which vary less and which only a
            simulator knows.
        item_prior: clicks, see `ItemStatistics`, whose numbers join the features of candidates; 0: they do not.
    """

    gamma: float = 0.95
    trace: float = 0.9
    stochastic: bool = False
    uniform: float = 0.0
    likelihood: str = "top-k"
    cap: float = 20.0
    entropy_start: float = 0.05
    entropy_end: float = 0.005
    width: int = 64
    learning_rate: float = 1e-3
    clip: float = 1.0
    reward_scale: float = 0.1
    envs: int = 64
    segment: int = 16
    epochs: int = 4
    batch_size: int = 256
    threads: int = 1
    objective_weights: dict[str, float] | None = None
    expected_reward: bool = False
    item_prior: float = 0.0
    weights: dict[str, dict[str, Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)
    wants_last = False
    in_training = (*OnlineAgent.in_training, "_segment", "_last", "_next", "_adam")

    def __post_init__(self) -> None:
        for name in ("gamma", "trace", "uniform"):
            require_number(f"Reinforce.{name}", getattr(self, name), 0, 1)
        require_option("Reinforce.likelihood", self.likelihood, ["top-k", "slate"])
        for name in ("entropy_start", "entropy_end", "item_prior"):
            require_number(f"Reinforce.{name}", getattr(self, name), 0, 1e6)
        for name in ("cap", "learning_rate", "clip", "reward_scale"):
            require_number(f"Reinforce.{name}", getattr(self, name), 1e-9, 1e9)
        for name, high in (("width", MAX_WIDTH), ("envs", 10**6), ("segment", 10**6), ("epochs", 10**6), ("batch_size", 10**9),
                           ("threads", MAX_THREADS)):  # fmt: skip
            require_count(f"Reinforce.{name}", getattr(self, name), 1, high)
        self._rng = np.random.default_rng(0)

    def start(self, env: RecVectorEnv) -> None:
        """Get ready for an env.

        Raises:
            ConfigError: actions are embeddings, observations not flat, rewards vectors, or the env is not of the kind
                that was learned in.
        """
        require_choices(env, "Reinforce")
        super().start(env)
        self._there = self.layout["mask"].slice
        self._serving = np.random.default_rng(0)
        with torch_seed(int(self._rng.integers(2**31))):
            self.nets = self.networks(env)
        for name, net in self.nets.items():
            if self.weights:
                self.put_weights(self.weights.get(name, {}), net)

    def networks(self, env: RecVectorEnv) -> dict[str, nn.Module]:
        """New networks for an env, (B, width) float32 -> (B, n): the logits of "policy" and the q of "value"."""
        head = head_of(self.layout, env.actions.n, self.width, dueling=False)
        return {name: CandidateHead(**head) for name in ("policy", "value")}

    def values(self, observation: Array, mask: Array) -> Array:
        """(B, n) float32 logits, log pi up to a constant per user: preferences, not rewards; -inf where there is none."""
        return self._logits(self.see(observation), mask)

    def _logits(self, seen: Array, mask: Array) -> Array:
        with torch.no_grad():
            logits = self.nets["policy"](torch.from_numpy(np.ascontiguousarray(seen))).numpy()
        return np.where(mask, logits, -np.inf)

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        """The largest logits; with `explore`, draws from the policy, or random ones in a `uniform` share of the cases."""
        seen, S = self.see(observation), self.env.world.slate_size
        logits = np.maximum(self._logits(seen, mask), NEVER)
        score = logits
        if explore:
            random = self._rng.random((len(mask), 1)) < self.uniform
            score = np.where(mask, np.where(random, 0.0, logits) + self._rng.gumbel(size=mask.shape), NEVER)
        elif self.stochastic:
            score = np.where(mask, logits + self._serving.gumbel(size=mask.shape), NEVER)
        whole, null = self.likelihood == "slate", self.env.actions.null
        order = np.argsort(-score, axis=1, kind="stable")
        if whole and null:  # nothing can stand at the first position only
            empty, items = order[:, :1] == 0, order[order != 0].reshape(len(order), -1)
            order = np.where(empty, 0, items)
        choice = order[:, :S]
        shown = np.take_along_axis(mask, choice, axis=1)
        if null:  # nothing, once drawn, is all that follows
            over = np.logical_or.accumulate(choice == 0, axis=1)
            shown[:, 1:] &= ~over[:, :-1]
            choice = np.where(over, 0, choice)
        if explore:
            self._drawn = {"observation": seen, "choice": choice, "shown": shown,
                           "beta": self._propensity(logits, mask, choice, shown)}  # fmt: skip
        return self.env.actions.encode(choice)

    def _propensity(self, logits: Array, mask: Array, choice: Array, shown: Array) -> Array:
        """float32: `propensity` of each choice (B, S) or, of whole slates, the log-probability (B,)."""
        S, null = choice.shape[1], self.env.actions.null
        if self.likelihood == "top-k":
            pi = np.exp(logits - logits.max(axis=1, keepdims=True)) * mask
            pi = pi / np.maximum(pi.sum(axis=1, keepdims=True), 1e-9)
            beta = propensity(pi, mask, S, self.uniform, null)
            return np.take_along_axis(beta, choice, axis=1).astype(np.float32)
        there = [torch.from_numpy(np.where(mask, values, NEVER)) for values in (logits, np.zeros_like(logits))]
        drawn = torch.from_numpy(choice), torch.from_numpy(shown), null
        own, chance = (slate_log_prob(values, *drawn).numpy() for values in there)
        with np.errstate(divide="ignore"):
            mixed = np.logaddexp(np.log1p(-self.uniform) + own, np.log(self.uniform) + chance)
        return mixed.astype(np.float32)

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Progress | None = None) -> None:
        """Learn from `steps` user-steps; what was learned before is where it starts."""
        self._rng = np.random.default_rng(seed)
        self._total, self._done = max(steps, 1), 0
        self._segment: list[dict[str, Array]] = []
        self._last: list[Array] = []  # observations after steps cut at the horizon, in the order of the segment
        with torch_threads(self.threads):
            super().fit(task, steps, seed, progress)
            if self._segment:
                self._improve()

    def learn(self, observation: Array, action: Array, reward: Array, next_observation: Array, terminated: Array,
              info: dict[str, Any]) -> None:  # fmt: skip
        """Remember a step of all users; at the end of a segment, learn from it."""
        if self._done == 0:
            parameters = [p for net in self.nets.values() for p in net.parameters()]
            self._adam = torch.optim.Adam(parameters, lr=self.learning_rate, fused=True)
            self.weights = {name: net.state_dict() for name, net in self.nets.items()}  # not copies: they learn on
        ended = info.get("_final_obs", np.zeros(len(reward), np.bool_))
        cut = ended & ~terminated  # at the horizon, after which more would have come
        self._segment.append({**self._drawn, "reward": (self.reward_scale * reward).astype(np.float32),
                              "terminated": terminated, "ended": ended, "cut": cut})  # fmt: skip
        self._next = next_observation
        if cut.any():
            self._last.append(self.see(last_observations(next_observation, info, cut)))
        self._done += len(reward)
        if len(self._segment) == self.segment:
            self._improve()

    def _improve(self) -> None:
        """Learn from the segment, for some epochs, and forget it."""
        names = self._segment[0].keys()
        data = {name: torch.from_numpy(np.stack([step[name] for step in self._segment])) for name in names}
        T, B = data["reward"].shape
        with torch.no_grad():
            value = self.state_value(data["observation"].flatten(0, 1)).view(T, B)
            after = torch.cat([value[1:], self.state_value(torch.from_numpy(self.see(self._next)))[None]])
            if self._last:
                after[data["cut"]] = self.state_value(torch.from_numpy(np.concatenate(self._last)))
            after = after.masked_fill(data["terminated"], 0.0)
            data["target"] = returns(data["reward"], after, data["ended"], self.gamma, self.trace)
            advantage = data["target"] - value
            data["advantage"] = advantage / (advantage.std() + 1e-6)
        data = {name: array.flatten(0, 1) for name, array in data.items()}
        self._segment, self._last = [], []
        left = max(1 - self._done / self._total, 0.0)
        self._adam.param_groups[0]["lr"] = self.learning_rate * max(left, 0.05)
        entropy_weight = self.entropy_end + left * (self.entropy_start - self.entropy_end)
        for _ in range(self.epochs):
            for rows in torch.from_numpy(self._rng.permutation(T * B)).split(self.batch_size):
                self._step({name: array[rows] for name, array in data.items()}, entropy_weight)

    def _step(self, batch: dict[str, Tensor], entropy_weight: float) -> None:
        """One gradient step."""
        log_pi = self.log_pi(batch["observation"])
        gain = self.gain(log_pi, batch)
        entropy = -(log_pi.exp() * log_pi).sum(dim=1)
        value = self.state_value(batch["observation"], log_pi)
        miss = nn.functional.smooth_l1_loss(value, batch["target"], reduction="none")
        loss = (miss - gain - entropy_weight * entropy).mean()
        self._adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._adam.param_groups[0]["params"], self.clip)
        self._adam.step()

    def gain(self, log_pi: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """(m,) float32 terms of m user-steps, along whose mean gradient the policy moves.

        Args:
            log_pi: (m, n), see `log_pi`. batch: choice (m, S) int64, shown (m, S) bool, the choices that count, advantage
                (m,), target (m,) the return, observation (m, width); and beta, of the behaviour policy: propensities
                (m, S), or log-probabilities of slates (m,) with likelihood "slate".
        """
        if self.likelihood == "top-k":
            K, drawn = batch["choice"].shape[1], log_pi.gather(1, batch["choice"])
            gain = surrogate(drawn, batch["beta"].clamp(min=1e-9), batch["advantage"][:, None], K, self.cap)
            return gain.masked_fill(~batch["shown"], 0.0).sum(dim=1) / K
        drawn = slate_log_prob(log_pi, batch["choice"], batch["shown"], self.env.actions.null)
        weight = (drawn.detach() - batch["beta"]).clamp(max=20.0).exp().clamp(max=self.cap)
        return weight * batch["advantage"] * drawn

    def log_pi(self, observation: Tensor) -> Tensor:
        """(B, n) float32 log-probabilities of one draw, from observations (B, width)."""
        logits, there = self.nets["policy"](observation), observation[:, self._there] > 0.5
        if self.env.actions.null:
            there = torch.cat([torch.ones_like(there[:, :1]), there], dim=1)
        return logits.masked_fill(~there, NEVER).log_softmax(dim=1)

    def state_value(self, observation: Tensor, log_pi: Tensor | None = None) -> Tensor:
        """(B,) float32 values of states. No gradient goes to the policy."""
        weight = self.log_pi(observation) if log_pi is None else log_pi
        return (weight.detach().exp() * self.nets["value"](observation)).sum(dim=1)
