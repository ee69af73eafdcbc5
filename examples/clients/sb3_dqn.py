"""Stable-Baselines3's DQN. Needs stable-baselines3 and sb3-contrib.

    python examples/clients/sb3_dqn.py --steps 8000
    python examples/clients/sb3_dqn.py --observation dict
    python examples/clients/sb3_dqn.py --native SameStep

`CandidatePolicy` values all candidates by one network. Dict observations are for Stable-Baselines3's own networks.
"""

import gymnasium as gym
from stable_baselines3 import DQN
from trial import Policy, Trial, run

import recgym  # noqa: F401  (registers the ids)
from baselines.sb3 import CandidatePolicy, SB3VecEnv


def train(trial: Trial) -> Policy:
    """DQN on one user, or on 16 at once."""
    if trial.native:
        env = SB3VecEnv(gym.make_vec(trial.id, num_envs=16, autoreset_mode=trial.native, **trial.options))
    else:
        env = gym.make(trial.id, **trial.options)
    policy = "MultiInputPolicy" if trial.options.get("observation") == "dict" else CandidatePolicy
    model = DQN(
        policy,
        env,
        learning_rate=1e-3,
        gamma=0.97,
        buffer_size=50_000,
        learning_starts=1000,
        exploration_fraction=0.3,
        gradient_steps=4 if trial.native else 1,
        seed=trial.seed,
        device="cpu",
    )
    model.learn(trial.steps)
    return lambda observation, info: model.predict(observation, deterministic=True)[0]


if __name__ == "__main__":
    run(train, ["stable-baselines3", "torch"], steps=8_000)
