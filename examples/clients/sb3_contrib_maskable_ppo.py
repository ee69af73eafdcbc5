"""sb3-contrib's MaskablePPO, which never shows a candidate that is not there. Needs sb3-contrib.

    python examples/clients/sb3_contrib_maskable_ppo.py --steps 20000
    python examples/clients/sb3_contrib_maskable_ppo.py --id recgym/EcommerceSlate-v0

It asks the env for `action_masks()`, which recgym's environments have. `MaskableCandidateActor` values all candidates
by one network. Dict observations are for sb3-contrib's own networks.
"""

import gymnasium as gym
import numpy as np
from sb3_contrib import MaskablePPO
from stable_baselines3.common.env_util import make_vec_env
from trial import Policy, Trial, run

import recgym  # noqa: F401  (registers the ids)
from baselines.sb3 import MaskableCandidateActor, SB3VecEnv


def train(trial: Trial) -> Policy:
    """MaskablePPO on 8 environments of one user, or on 64 users in one call."""
    if trial.native:
        env = SB3VecEnv(gym.make_vec(trial.id, num_envs=64, autoreset_mode=trial.native, **trial.options))
    else:
        env = make_vec_env(trial.id, n_envs=8, env_kwargs=trial.options, seed=trial.seed)
    policy = "MultiInputPolicy" if trial.options.get("observation") == "dict" else MaskableCandidateActor
    model = MaskablePPO(
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
    space = env.action_space
    places = len(space.nvec) if isinstance(space, gym.spaces.MultiDiscrete) else 1  # a slate has a mask for each

    def act(observation, info):
        masks = np.tile(info["action_mask"], places)
        return model.predict(observation, deterministic=True, action_masks=masks)[0]

    return act


if __name__ == "__main__":
    run(train, ["sb3-contrib", "stable-baselines3", "torch"], steps=20_000)
