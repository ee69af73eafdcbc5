"""Minari: record sessions, load them again, clone the policy that made them, and recover the environment. Needs minari
and torch.

    python examples/clients/minari_cloning.py --steps 4000
    python examples/clients/minari_cloning.py --id recgym/EcommerceSlate-v0 --observation dict

The sessions are of a shop that shows the candidates that match best, with one step in five at random. The data set is
written to a folder that is removed at the end.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

import gymnasium as gym
import minari
import numpy as np
import torch
from torch import nn
from trial import Policy, Trial, run

import recgym  # noqa: F401  (registers the ids)

NAME = "recgym/shop-v0"


def record(trial: Trial) -> None:
    """Write a data set of `trial.steps` steps; candidates come sorted by how well they match."""
    env = minari.DataCollector(gym.make(trial.id, **trial.options), record_infos=True)
    env.action_space.seed(trial.seed)
    rng = np.random.default_rng(trial.seed)
    slate = isinstance(env.action_space, gym.spaces.MultiDiscrete)
    best = np.arange(len(env.action_space.nvec)) if slate else 0
    steps = 0
    for seed in range(trial.seed, trial.seed + trial.steps):
        env.reset(seed=seed)
        over = False
        while not over:
            action = env.action_space.sample() if rng.random() < 0.2 else best
            _, _, terminated, truncated, _ = env.step(action)
            over = terminated or truncated
            steps += 1
        if steps >= trial.steps:
            break
    env.create_dataset(
        dataset_id=NAME,
        algorithm_name="best match, one step in five at random",
        author="recgym",
        author_email="recgym@example.org",
        code_permalink="examples/clients/minari_cloning.py",
        description="Sessions for an example.",
    )


def flat(observation: Any, lead: int = 1) -> np.ndarray:
    """Blocks of dict observations side by side."""
    if not isinstance(observation, dict):
        return observation
    return np.concatenate([block.reshape(*block.shape[:lead], -1) for block in observation.values()], axis=lead)


def train(trial: Trial) -> Policy:
    """Cloning: the probability of what was shown, by one network with an output per candidate and position."""
    torch.manual_seed(trial.seed)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINARI_DATASETS_PATH"] = folder
        record(trial)
        data = minari.load_dataset(NAME)
        seen, shown = [], []
        for episode in data.iterate_episodes():
            assert len(episode.infos["action_mask"]) == len(episode.actions) + 1
            seen.append(flat(episode.observations)[:-1])
            shown.append(np.asarray(episode.actions))
        env = data.recover_environment()  # that of the same id and options
    space = env.action_space
    slate = isinstance(space, gym.spaces.MultiDiscrete)
    places = len(space.nvec) if slate else 1
    x, y = torch.as_tensor(np.concatenate(seen)), torch.as_tensor(np.concatenate(shown)).reshape(-1, places)
    outputs = int(space.nvec.sum()) if slate else int(space.n)
    net = nn.Sequential(nn.Linear(x.shape[1], 64), nn.ReLU(), nn.Linear(64, outputs), nn.Unflatten(1, (places, -1)))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(20):
        for batch in torch.randperm(len(x)).split(128):
            loss = nn.functional.cross_entropy(net(x[batch]).flatten(0, 1), y[batch].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def policy(observation: Any, info: dict[str, Any]) -> Any:
        with torch.no_grad():
            items = net(torch.as_tensor(flat(observation))).argmax(2).numpy()
        return items if slate else items[:, 0]

    return policy


if __name__ == "__main__":
    run(train, ["minari", "torch"], steps=4_000)
