"""Stable-Baselines3's PPO. Needs stable-baselines3 and sb3-contrib.

    python examples/clients/sb3_ppo.py --steps 20000
    python examples/clients/sb3_ppo.py --id recgym/EcommerceSlate-v0
    python examples/clients/sb3_ppo.py --native SameStep

`CandidateActor` values all candidates by one network. Dict observations are for Stable-Baselines3's own networks.
"""

import gymnasium as gym
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from trial import Policy, Trial, run

import recgym  # noqa: F401  (registers the ids)
from baselines.sb3 import CandidateActor, SB3VecEnv


def train(trial: Trial) -> Policy:
    """PPO on 8 environments of one user, or on 64 users in one call."""
    if trial.native:
        env = SB3VecEnv(gym.make_vec(trial.id, num_envs=64, autoreset_mode=trial.native, **trial.options))
    else:
        env = make_vec_env(trial.id, n_envs=8, env_kwargs=trial.options, seed=trial.seed)
    policy = "MultiInputPolicy" if trial.options.get("observation") == "dict" else CandidateActor
    model = PPO(
        policy,
        env,
        n_steps=2048 // env.num_envs,
        batch_size=512,
        n_epochs=4,
        learning_rate=1e-3,
        gamma=0.97,
        ent_coef=0.005,
        seed=trial.seed,
        device="cpu",
    )
    model.learn(trial.steps)
    return lambda observation, info: model.predict(observation, deterministic=True)[0]


if __name__ == "__main__":
    run(train, ["stable-baselines3", "torch"], steps=20_000)
