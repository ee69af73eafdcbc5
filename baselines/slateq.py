"""SlateQ: the value of a slate from long-term values of its items, weighted by how likely the user picks each.

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

`baselines.full_slateq` has what SlateQ is compared with: one value for each slate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.encoders import CandidateHead, head_of, narrow
from baselines.slate_learner import Sample, SlateLearner
from baselines.slates import OPTIMISERS, mean_value, sum_value, without_absent
from recgym.envs import RecVectorEnv
from recgym.errors import require, require_option
from recgym.models.choice import MultinomialLogit, Proportional

Array = NDArray[Any]


class Values(NamedTuple):
    """What a network of SlateQ predicts for B users."""

    items: Tensor  # (B, 1 + K): a slate is shown, and nothing or candidate k is picked
    nothing: Tensor  # (B,): no slate is shown; zeros where that is not an action


@dataclass
class SlateQ(SlateLearner):
    """SlateQ with a network that treats all candidates alike (`CandidateHead`).

    **Variants** of SlateQ can be as short as this one, double Q-learning (van Hasselt, Guez and Silver, AAAI 2016) with
    returns of several steps: the online network chooses the next slate, the target network values it. In a file of its
    own it is the agent "file.py:DoubleSlateQ" of `make_agent` and of ``python -m benchmarks run --agent``.

        from dataclasses import dataclass

        from baselines.slateq import SlateQ


        @dataclass
        class DoubleSlateQ(SlateQ):
            n_steps: int = 5

            def next_value(self, after):
                weights = self.next_weights(after)
                online = self.item_values(self.nets["value"], after["observation"])
                target = self.item_values(self.target_net, after["observation"])
                slate, shows = self.best_slate(self.target_optimiser, weights, online)
                return self.slate_value(weights, target, slate, shows)

    Args:
        target: "sarsa", the value of the slate that was shown next, or "q", of the best one by `target_optimiser`.
        optimiser: how slates are made: "top-k", "greedy" or "exact". target_optimiser: the same for the target. Where
            several items may be picked, the value of a slate is a sum, and all three are "top-k".
        choice_model: "learned" from clicks, with the same kind of network and a term for each position: a conditional logit
            where one item at most is picked, else a logit for each item. Or "given", the world's own weights, which
            read the user's hidden state where there is one.
        no_click: whether picking nothing has a value too, learned from the steps without a click.
        dueling: whether a state has a value that its candidates share, see `CandidateHead`.
        shown_only: whether training looks at the shown candidates alone, as large catalogues ask for; the replay holds no
            others, either. Values are learned as differences from that of picking nothing. Needs target="sarsa",
            choice_model="learned", no_click=True and dueling=False.
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
            ConfigError: actions name no candidates, observations are not flat, or rewards are vectors; or, with
                `choice_model="given"`, the choice has no weights, or depends on positions.
        """
        if self.choice_model == "given":
            choice = env.world.choice
            known = isinstance(choice, Proportional) or (isinstance(choice, MultinomialLogit) and choice.decay == 0)
            require(
                known, "SlateQ.choice_model", '"given" needs Proportional or a MultinomialLogit without decay', choice
            )
        self._single = env.world.choice.single
        super().start(env)

    def networks(self, env: RecVectorEnv) -> dict[str, nn.Module]:
        """The network of the values and, where the choice is learned, those of the picks and of the positions."""
        head = head_of(self.layout, env.actions.n, self.width, self.dueling)
        nets: dict[str, nn.Module] = {"value": CandidateHead(**{**head, "null": 1 + env.actions.null})}
        if self.choice_model == "learned":
            nets["pick"] = CandidateHead(**{**head, "null": 1, "dueling": False})
            nets["position"] = nn.Embedding.from_pretrained(torch.zeros(env.world.slate_size, 1), freeze=False)
        return nets

    def choice_weights(self, observation: Tensor, mask: Array) -> Tensor:
        """(B, 1 + K) weights of picking nothing and each candidate, probabilities where several may be picked.

        Args:
            observation: (B, width) float32. mask: (B, K) bool; candidates that are not there have weight 0.
        """
        if self.choice_model == "learned":
            logits = self.nets["pick"](observation)
            if self._single:
                weights = torch.exp(logits - logits.amax(dim=1, keepdim=True))
            else:
                weights = torch.sigmoid(logits)
        else:
            weights = self._given_weights()
        there = torch.from_numpy(mask > 0)
        return torch.cat([weights[:, :1], weights[:, 1:].masked_fill(~there, 0.0)], dim=1)

    def _given_weights(self) -> Tensor:
        """(B, 1 + K) weights of the world's own choice, in the present state of the env's users."""
        users, choice = self.env.get_state().users, self.env.world.choice
        utility, outside, _, _ = self.env.world.appraise(users, users.candidates)
        v = torch.from_numpy(utility)
        if isinstance(choice, Proportional):
            return torch.cat([torch.full_like(v[:, :1], choice.null), (v + choice.shift).clamp(min=0)], dim=1)
        nothing = torch.from_numpy(outside)[:, None] + choice.null  # type: ignore[attr-defined]
        return torch.softmax(torch.cat([nothing, v], dim=1), dim=1)

    def next_weights(self, after: Sample) -> Tensor:
        """(m, 1 + K) choice weights in the steps that follow: those remembered, where the choice is given."""
        weights = after.get("weights")
        return self.choice_weights(after["observation"], after["available"].numpy()) if weights is None else weights

    def item_values(self, net: nn.Module, observation: Tensor) -> Values:
        """Values by a network such as ``nets["value"]`` or `target_net`; observation (B, width) float32."""
        out = net(observation)
        null = int(self.env.actions.null)
        rest, nothing = (out[:, 0] if null else torch.zeros_like(out[:, 0])), out[:, null : null + 1]
        nothing = nothing if self.no_click else torch.zeros_like(nothing)
        items = nothing + out[:, 1 + null :] if self.shown_only else out[:, 1 + null :]
        return Values(torch.cat([nothing, items], dim=1), rest)

    def best_slate(self, optimiser: str, weights: Tensor, values: Values) -> tuple[Tensor, Tensor]:
        """The best slates, (B, S) int64 candidates, -1 where there are no more, and whether to show them, (B,) bool.

        Args:
            optimiser: a name in `OPTIMISERS`. weights: (B, 1 + K), see `choice_weights`. values: see `item_values`.
        """
        size = self.env.world.slate_size
        slate = OPTIMISERS[optimiser if self._single else "top-k"](weights, values.items, size)
        slate = without_absent(weights, slate)
        if not self.env.actions.null:
            return slate, torch.ones(len(slate), dtype=torch.bool)
        return slate, ~(values.nothing > self.slate_value(weights, values, slate))

    def slate_value(self, weights: Tensor, values: Values, slate: Tensor, shows: Tensor | None = None) -> Tensor:
        """(B,) float32 values of slates (B, S), -1 = nothing; `shows` (B,) bool: which are shown at all, None: all."""
        value = (mean_value if self._single else sum_value)(weights, values.items, slate)
        return value if shows is None or not self.env.actions.null else torch.where(shows, value, values.nothing)

    def best(self, observation: Tensor, mask: Array) -> Array:
        weights, values = self.choice_weights(observation, mask), self.item_values(self.nets["value"], observation)
        self._acted_on = weights  # of the state that the users are in now, which `remembered` comes too late to ask for
        slate, shows = self.best_slate(self.optimiser, weights, values)
        return slate.masked_fill(~shows[:, None], -1).numpy()

    def values(self, observation: Array, mask: Array) -> Array:
        """(B, n) float32 values of showing each choice alone, in units of the training reward; -inf where there is none."""
        null = int(self.env.actions.null)
        with torch.no_grad():
            seen = self.seen(observation)
            weights, values = self.choice_weights(seen, mask[:, null:]), self.item_values(self.nets["value"], seen)
            slates = torch.arange(weights.shape[1] - 1).expand(len(mask), -1)[:, :, None]
            alone = [self.slate_value(weights, values, slate) for slate in slates.unbind(dim=1)]
            out = torch.stack([values.nothing, *alone] if null else alone, dim=1)
        return np.where(mask, out.numpy(), -np.inf).astype(np.float32)

    def next_value(self, after: Sample) -> Tensor:
        weights, values = self.next_weights(after), self.item_values(self.target_net, after["observation"])
        if self.target == "sarsa":
            slate, shows = without_absent(weights, after["shown"]), (after["shown"] >= 0).any(dim=1)
        else:
            slate, shows = self.best_slate(self.target_optimiser, weights, values)
        return self.slate_value(weights, values, slate, shows)

    def predicted(self, sample: Sample) -> tuple[Tensor, Tensor]:
        """(m,) float32 values of what the users picked, and which of them count, (m,) bool."""
        values, rest = self.item_values(self.nets["value"], sample["observation"])
        shown, click, counts = sample["shown"].clamp(min=0), sample["click"], sample["counts"]
        value = values[:, 0] + ((values[:, 1:].gather(1, shown) - values[:, :1]) * click).sum(dim=1)
        if self.env.actions.null:
            value = torch.where((sample["shown"] < 0).all(dim=1), rest, value)
        return value, counts if self.no_click else counts & click.any(dim=1)

    def choice_loss(self, sample: Sample) -> Tensor:
        """() float32: minus the log likelihood of the clicks per step; 0 where the choice is given."""
        if self.choice_model == "given":
            return super().choice_loss(sample)
        logits, there, click = self.nets["pick"](sample["observation"]), sample["shown"] >= 0, sample["click"]
        position = self.nets["position"].weight[:, 0]  # type: ignore[index]
        shown = logits[:, 1:].gather(1, sample["shown"].clamp(min=0)) + position - position[:1]
        if not self._single:
            miss = nn.functional.binary_cross_entropy_with_logits(shown, click.float(), reduction="none")
            return (miss * there).sum(1).mean()
        every = torch.cat([logits[:, :1], shown.masked_fill(~there, -torch.inf)], dim=1)
        picked = torch.cat([~click.any(dim=1, keepdim=True), click], dim=1)
        return (every.logsumexp(dim=1) - every.masked_fill(~picked, 0.0).sum(dim=1)).mean()

    def remembered(self, observation: Array, mask: Array, shown: Array) -> dict[str, Array]:
        """The shown candidates instead of all with `shown_only`; the weights where the choice is given."""
        if self.shown_only:
            return {
                "observation": narrow(observation, shown, self.layout),
                "available": shown >= 0,
                "shown": np.where(shown >= 0, np.arange(shown.shape[1]), -1),
            }
        if self.choice_model == "learned":
            return {}
        return {"weights": self._acted_on.numpy()}
