"""Policies of Stable-Baselines3 with networks that treat all candidates alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from sb3_contrib.common.maskable.distributions import MaskableDistribution
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.qrdqn.policies import QRDQNPolicy, QuantileNetwork
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor, nn

from baselines.encoders import CandidateHead, Encoder, head_of
from recgym.errors import require


class Features(BaseFeaturesExtractor):
    """An `Encoder` as a features extractor of Stable-Baselines3.

    Args:
        observation_space: the flat one. All others: those of `Encoder`, see `encoder_of`.
    """

    def __init__(self, observation_space: Any, **encoder: Any) -> None:
        net = Encoder(**encoder)
        super().__init__(observation_space, net.width)
        self.net = net

    def forward(self, observation: Tensor) -> Tensor:
        """(B, width of the observation) -> (B, features)."""
        return self.net(observation)


class _WithHead:
    """A policy of Stable-Baselines3 with a `CandidateHead`, which knows from the observation space where candidates are."""

    dueling = True  # by default

    def __init__(
        self,
        observation_space: Any,
        action_space: Any,
        *args: Any,
        width: int = 32,
        dueling: bool | None = None,
        history: str = "mean",
        **kwargs: Any,
    ) -> None:
        layout = getattr(observation_space, "layout", None)
        rule = 'must be that of an env of recgym with observation="flat" (or "latent"), as the env gives it'
        require(layout is not None, "observation_space", rule, observation_space)
        assert layout is not None
        sizes = {*np.ravel(getattr(action_space, "nvec", getattr(action_space, "n", ())))}  # choices at each position
        candidates = layout["mask"].shape[0]
        fits = len(sizes) == 1 and sizes <= {candidates, candidates + 1}
        require(fits, "action_space", f"must be of items or slates of {candidates} candidates", action_space)
        self.dueling = type(self).dueling if dueling is None else dueling
        self.head = head_of(layout, int(sizes.pop()), width, self.dueling, history)
        super().__init__(observation_space, action_space, *args, **{"net_arch": [], **kwargs})  # type: ignore[call-arg]

    def _get_constructor_parameters(self) -> dict[str, Any]:
        own = {"width": self.head["width"], "dueling": self.dueling, "history": self.head["reader"]}
        return super()._get_constructor_parameters() | own  # type: ignore[misc]


class CandidatePolicy(_WithHead, DQNPolicy):
    """Stable-Baselines3's DQN policy with a `CandidateHead` for its layers: one network values all candidates.

        model = stable_baselines3.DQN(CandidatePolicy, gymnasium.make("recgym/Ecommerce-v0"))

    Args:
        width, dueling, history: see `CandidateHead`, whose `reader` is the `history`. All others: those of `DQNPolicy`.

    Raises:
        ConfigError: the spaces are not those of an env of recgym with flat observations, candidates, and items for actions
            (or slates, for policies of actors).
    """

    def make_q_net(self) -> QNetwork:
        """Stable-Baselines3's network, with a `CandidateHead` for its layers."""
        net = super().make_q_net()
        net.q_net = CandidateHead(**self.head)  # type: ignore[assignment]
        return net.to(self.device)


class QuantileCandidatePolicy(_WithHead, QRDQNPolicy):
    """sb3-contrib's QR-DQN policy with a `CandidateHead` for its layers, whose outputs are the quantiles.

    Args: as of `CandidatePolicy`.
    """

    def make_quantile_net(self) -> QuantileNetwork:
        """sb3-contrib's network, with a `CandidateHead` for its layers."""
        net = super().make_quantile_net()
        net.quantile_net = CandidateHead(**{**self.head, "outputs": self.n_quantiles})  # type: ignore[assignment]
        return net.to(self.device)


class Slates(MaskableDistribution):
    """Distribution of ordered slates whose items are drawn one after the other without replacement (Plackett 1975; Luce
    1959).

    Args:
        n: choices. size: positions of a slate. null: whether choice 0 is nothing, which can be drawn again.
    """

    def __init__(self, n: int, size: int, null: bool) -> None:
        super().__init__()
        self.n, self.size, self.null = n, size, null

    def proba_distribution_net(self, *args: Any, **kwargs: Any) -> nn.Module:
        """Not used: the policy makes the network."""
        raise NotImplementedError

    def proba_distribution(self, action_logits: Tensor) -> Self:
        """The distribution of logits (B, n), which are the same at all positions."""
        self.logits = action_logits
        return self

    def apply_masking(self, masks: Any) -> None:
        """Rule out choices; masks (B, S n) bool are the same at each position."""
        if masks is not None:
            there = torch.as_tensor(masks, dtype=torch.bool, device=self.logits.device)
            self.logits = self.logits.masked_fill(~there.reshape(-1, self.size, self.n)[:, 0], -1e8)

    def _draw(self, pick: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Slates (B, S), and their log probability (B,), where `pick` gives the next choice from log probabilities."""
        free, chosen, total = self.logits, [], torch.zeros(len(self.logits), device=self.logits.device)
        for _ in range(self.size):
            log = torch.log_softmax(free, dim=1)
            choice = pick(log)[:, None]
            total = total + log.gather(1, choice)[:, 0]
            free = free.scatter(1, choice, -1e8)
            if self.null:
                free = torch.cat([self.logits[:, :1], free[:, 1:]], dim=1)
            chosen.append(choice)
        return torch.cat(chosen, dim=1), total

    def log_prob(self, actions: Tensor) -> Tensor:
        """(B,) float32 of slates (B, S)."""
        choices = iter(actions.long().unbind(dim=1))
        return self._draw(lambda _: next(choices))[1]

    def entropy(self) -> None:
        """None, as it has no closed form; PPO then takes -log_prob of what was drawn."""
        return

    def sample(self) -> Tensor:
        """(B, S) int64 slates, drawn."""
        return self._draw(lambda log: torch.multinomial(log.exp(), 1)[:, 0])[0]

    def mode(self) -> Tensor:
        """(B, S) int64 slates of the highest logits, the highest first."""
        return self._draw(lambda log: log.argmax(dim=1))[0]

    def actions_from_params(self, action_logits: Tensor, deterministic: bool = False) -> Tensor:
        """(B, S) int64 slates by logits (B, n): the highest, or drawn."""
        return self.proba_distribution(action_logits).get_actions(deterministic)

    def log_prob_from_params(self, action_logits: Tensor) -> tuple[Tensor, Tensor]:
        """Slates drawn by logits (B, n), and their log probability."""
        actions = self.actions_from_params(action_logits)
        return actions, self.log_prob(actions)


class _Candidates(_WithHead):
    """An actor-critic policy of Stable-Baselines3 that treats all candidates alike.

    The actor is a `CandidateHead` whose values are the logits; the critic is two layers over an `Encoder` to which the
    order of candidates does not matter. The policy has no layers of its own before them: ``net_arch=[]``.
    """

    dueling = False
    shift = 0  # columns before the observation in the input of actor and critic

    def _build(self: Any, lr_schedule: Any) -> None:
        super()._build(lr_schedule)  # type: ignore[misc]
        by, head = self.shift, dict(self.head)
        for name in ("mask", "history", "candidates"):
            start, stop, *shape = head[name]
            head[name] = (start + by, stop + by, *shape)
        head["user"] = (head["user"][0], head["user"][1] + by)  # the first block: the columns before it join it
        actor: Any = CandidateHead(**head)
        with torch.no_grad():
            actor.advantage[-1].weight.mul_(0.01)  # at first all are drawn about equally, as by Stable-Baselines3's own
        self.action_net = actor
        width = head["width"]
        encoder = Encoder(head["user"], head["history"], head["candidates"], head["reader"], "mean", width)
        first = nn.Linear(encoder.width, width)
        self.value_net = nn.Sequential(
            encoder, first, nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )
        if self.action_space.shape:
            choices = self.action_space.nvec  # at each position
            self.action_dist = Slates(int(choices[0]), len(choices), head["null"])
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def _get_action_dist_from_latent(self: Any, latent_pi: Tensor) -> Any:
        return self.action_dist.proba_distribution(action_logits=self.action_net(latent_pi))


class CandidateActor(_Candidates, ActorCriticPolicy):  # type: ignore[misc]
    """Policy of Stable-Baselines3's PPO and A2C; arguments as of `CandidatePolicy`."""


class MaskableCandidateActor(_Candidates, MaskableActorCriticPolicy):  # type: ignore[misc]
    """Policy of sb3-contrib's MaskablePPO; arguments as of `CandidatePolicy`."""


class RecurrentCandidateActor(_Candidates, RecurrentActorCriticPolicy):  # type: ignore[misc]
    """Policy of sb3-contrib's RecurrentPPO: what the LSTMs give comes before the observation, as part of the user block."""

    @property
    def shift(self) -> int:  # type: ignore[override]
        """Units of an LSTM."""
        return self.lstm_output_dim

    @staticmethod
    def _process_sequence(features: Tensor, lstm_states: Any, episode_starts: Tensor, lstm: nn.LSTM) -> Any:
        read, states = RecurrentActorCriticPolicy._process_sequence(features, lstm_states, episode_starts, lstm)
        return torch.cat([read, features], dim=1), states
