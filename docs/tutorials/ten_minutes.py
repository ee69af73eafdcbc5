# # Ten minutes: your own DQN against the baselines
#
# From nothing to a plot. In a checkout, in an environment of its own:
#
# ```bash
# python -m venv .venv && . .venv/bin/activate
# pip install -e ".[bench]"
# python docs/tutorials/ten_minutes.py
# ```
#
# (On Linux, pip takes torch's CUDA build, some gigabytes. For the small CPU build say first
# `pip install torch --index-url` and the address that pytorch.org gives for "CPU".) This is the whole script: a DQN of
# Stable-Baselines3 learns to recommend in a shop, and every 2,000 steps it is scored on 200 shoppers of later weeks, when
# other items are on offer.

import tempfile

import gymnasium as gym
import matplotlib.pyplot as plt
import recgym  # registers the environments
import torch
from baselines import Task, evaluate, make_agent
from baselines.sb3 import CandidatePolicy, SB3VecEnv
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import EvalCallback

torch.set_num_threads(1)  # networks as small as these are faster on one thread
STEPS = 20_000
USERS = 200
test = Task("recgym/Ecommerce-v0", {"weeks": (8, 12)})
often = dict(log_path=tempfile.mkdtemp(), eval_freq=STEPS // 10, n_eval_episodes=USERS)
score = EvalCallback(SB3VecEnv(test.make(USERS, "SameStep")), warn=False, **often)
model = DQN(CandidatePolicy, gym.make(test.id), buffer_size=50_000, seed=0)
model.learn(STEPS, callback=score)

returns = [sum(found) / USERS for found in score.evaluations_results]
plt.plot(score.evaluations_timesteps, returns, "o-", label="DQN")
for n, name in enumerate(("random", "popularity", "heuristic"), start=1):
    level = evaluate(make_agent(name), test, users=USERS, seed=10**6).returns.mean()
    plt.axhline(level, color=f"C{n}", linestyle="--", label=name)
plt.gca().set(xlabel="steps of training", ylabel="return per session")
plt.legend()
plt.show()

# (Stable-Baselines3 warns that it trains in one kind of env and is scored in another: here that is one shopper after the
# other, and 200 at a time.) `popularity` shows what is clicked most, `heuristic` ranks by the best weighted sum of what is visible; neither learns.
# `make_agent("dqn")`, with hyper-parameters of its own and 50,000 steps, is above both: [core-v1](../leaderboards/core-v1.md)
# has five seeds, and intervals.
#
# ## Where next
#
# - [A first DQN](first-dqn.md): why this policy, and what the stock one earns.
# - Another id of the [list](../environments/index.md): change `test`. Ids with `Slate` need an algorithm for
#   `MultiDiscrete` actions: `PPO(CandidateActor, ...)`, see [slate agents](slates.md).
# - [Your own reward](own-reward.md), [your own domain](own-domain.md), [a row of the leaderboard](suites.md).
