"""PPO in a single file, as CleanRL writes it, on recgym's own vector env. Needs torch.

    python examples/clients/cleanrl_ppo.py --steps 20000
    python examples/clients/cleanrl_ppo.py --id recgym/EcommerceSlate-v0 --native NextStep

The actor is `CandidateHead`: one network values each candidate by its features and the user's, so what it learns of
one candidate holds for all. It is plain torch and reads flat observations, so any library that takes your own network
can use it.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from trial import Policy, Trial, run

import recgym  # noqa: F401  (registers the ids)
from baselines.encoders import CandidateHead, head_of

USERS, LENGTH, EPOCHS, BATCH = 64, 32, 4, 512
DISCOUNT, TRACE, CLIP, ENTROPY, RATE = 0.97, 0.95, 0.2, 0.005, 1e-3


class Agent(nn.Module):
    """An actor over candidates and a critic over the whole observation."""

    def __init__(self, env: Any) -> None:
        super().__init__()
        self.places = env.world.slate_size
        self.actor = CandidateHead(**head_of(env.observation_layout, env.actions.n, dueling=False))
        width = env.observations.width
        self.critic = nn.Sequential(nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))

    def forward(
        self, seen: Tensor, mask: Tensor, slate: Tensor | None = None, greedy: bool = False
    ) -> tuple[Tensor, ...]:
        """Slates (B, S), drawn if not given, their log probability (B,), an entropy (B,) and the values (B,).

        Items are drawn (or, greedily, taken) one after the other, without those that have been drawn or are not there.
        """
        logits = self.actor(seen).masked_fill(mask == 0, -1e8)
        entropy, log_prob, items = Categorical(logits=logits).entropy(), torch.zeros(len(seen)), []
        for place in range(self.places):
            law = Categorical(logits=logits)
            item = (law.mode if greedy else law.sample()) if slate is None else slate[:, place]
            log_prob = log_prob + law.log_prob(item)
            logits = logits.scatter(1, item[:, None], -1e8)
            items.append(item)
        return torch.stack(items, 1), log_prob, entropy, self.critic(seen)[:, 0]


def train(trial: Trial) -> Policy:
    """PPO; an episode that the horizon cuts off counts as ended, as in CleanRL's file."""
    torch.manual_seed(trial.seed)
    envs: Any = gym.make_vec(trial.id, num_envs=USERS, autoreset_mode=trial.native, **trial.options)
    agent = Agent(envs)
    one = isinstance(envs.single_action_space, gym.spaces.Discrete)
    if trial.options.get("observation") == "dict":
        envs = gym.wrappers.vector.FlattenObservation(envs)
    optimizer = torch.optim.Adam(agent.parameters(), RATE, eps=1e-5)

    seen, info = envs.reset(seed=trial.seed)
    over = np.zeros(USERS, bool)  # whose episode ended in the step before
    for _ in range(max(trial.steps // (USERS * LENGTH), 1)):
        steps = []
        for _ in range(LENGTH):
            seen, mask = torch.as_tensor(seen), torch.as_tensor(info["action_mask"])
            with torch.no_grad():
                slate, log_prob, _, value = agent(seen, mask)
            before, was_over = seen, over
            seen, reward, terminated, truncated, info = envs.step(slate[:, 0].numpy() if one else slate.numpy())
            over = terminated | truncated
            if trial.native == "Disabled" and over.any():
                seen, info = envs.reset(options={"reset_mask": over})
            # In NextStep, the step after an end only begins the next episode: there is nothing to learn from it.
            counts = ~was_over if trial.native == "NextStep" else np.ones(USERS, bool)
            arrays = (np.asarray(reward, np.float32), over, counts)
            steps.append((before, mask, slate, log_prob, value, *map(torch.as_tensor, arrays)))
        with torch.no_grad():
            value_after = agent(torch.as_tensor(seen), torch.as_tensor(info["action_mask"]))[3]
        advantages, advantage = [], torch.zeros(USERS)
        for *_, value, reward, ended, _ in reversed(steps):
            goes_on = 1 - ended.float()
            surprise = reward + DISCOUNT * goes_on * value_after - value
            advantage = surprise + DISCOUNT * TRACE * goes_on * advantage
            value_after = value
            advantages.insert(0, advantage)
        before, mask, slate, log_prob, value, _, _, counts = (torch.cat(column) for column in zip(*steps))
        gain = torch.cat(advantages)
        target = gain + value
        rows = counts.nonzero()[:, 0]
        for _ in range(EPOCHS):
            for batch in rows[torch.randperm(len(rows))].split(BATCH):
                _, log, entropy, worth = agent(before[batch], mask[batch], slate[batch])
                ratio = (log - log_prob[batch]).exp()
                weight = (gain[batch] - gain[batch].mean()) / (gain[batch].std() + 1e-8)
                actor = -torch.min(weight * ratio, weight * ratio.clamp(1 - CLIP, 1 + CLIP)).mean()
                loss = actor + 0.5 * (worth - target[batch]).pow(2).mean() - ENTROPY * entropy.mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()

    def policy(observation: Any, info: dict[str, Any]) -> Any:
        if isinstance(observation, dict):  # flat observations are the blocks of the dict side by side
            observation = np.concatenate([block.reshape(len(block), -1) for block in observation.values()], axis=1)
        with torch.no_grad():
            mask = torch.as_tensor(info["action_mask"])
            slate = agent(torch.as_tensor(observation), mask, greedy=True)[0].numpy()
        return slate[:, 0] if one else slate

    return policy


if __name__ == "__main__":
    run(train, ["torch"], steps=20_000, native="SameStep")
