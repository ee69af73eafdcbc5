"""MORL-Baselines' GPI-LS on vectors of objectives. Needs morl-baselines, mo-gymnasium and torch.

    python examples/clients/morl_gpi.py --steps 8000

``reward="vector"`` pays all objectives of a step, as MO-Gymnasium's environments do. The agent learns for several
weights of them; it is evaluated at those of recgym's own reward.
"""

from __future__ import annotations

import mo_gymnasium
import numpy as np
from morl_baselines.multi_policy.gpi_pd.gpi_pd import GPIPD
from trial import Policy, Trial, run

import recgym  # noqa: F401  (registers the ids)


def train(trial: Trial) -> Policy:
    """GPI-LS (GPI-PD without its model), on one user."""
    env = mo_gymnasium.make(trial.id, reward="vector", **trial.options)
    own = mo_gymnasium.make(trial.id, **trial.options).unwrapped.batch.weights[0]  # of the objectives in the reward
    own = np.asarray(own / own.sum(), np.float32)
    support = [own, *np.eye(len(own), dtype=np.float32)[own > 0]]  # and those of single objectives
    agent = GPIPD(
        env,
        net_arch=[64, 64],
        batch_size=64,
        gamma=0.97,
        learning_rate=1e-3,
        learning_starts=300,
        initial_epsilon=1.0,
        final_epsilon=0.05,
        epsilon_decay_steps=trial.steps // 2,
        gradient_updates=1,
        num_nets=1,
        drop_rate=0.0,
        layer_norm=False,
        dyna=False,
        log=False,
        seed=trial.seed,
        device="cpu",
    )
    agent.set_weight_support(support)
    agent.train_iteration(total_timesteps=trial.steps, weight=own, weight_support=support, eval_env=None)
    return lambda observation, info: np.array([agent.eval(row, own) for row in observation])


if __name__ == "__main__":
    run(train, ["morl-baselines", "mo-gymnasium", "torch"], steps=8_000)
