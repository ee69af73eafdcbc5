# # A first DQN
#
# Train Stable-Baselines3's DQN on the shop, first as everybody types it, then with the policy that we recommend, and
# compare both with agents that learn nothing. The budget is small, so that this page is made in seconds: `dqn` of the
# [leaderboard](../leaderboards/core-v1.md) has 50,000 steps, which take half a minute.

import tempfile
from pathlib import Path

import gymnasium as gym
import numpy as np
import recgym  # registers the environments
import torch
from baselines import Task, evaluate, make_agent
from baselines.sb3 import CandidatePolicy, SB3VecEnv
from stable_baselines3 import DQN

torch.set_num_threads(1)  # networks as small as these are faster on one thread
STEPS = 2_000
USERS = 300  # on whom agents are evaluated
ID = "recgym/Ecommerce-v0"
folder = Path(tempfile.mkdtemp())

# ## As it comes
#
# The action is the number of one of 20 candidates, the observation a flat vector: nothing here is special to recgym.

env = gym.make(ID)
print(env.action_space, env.observation_space.shape)
stock = DQN("MlpPolicy", env, buffer_size=50_000, learning_starts=500, seed=0)
stock.learn(STEPS)

# ## A policy that treats all candidates alike
#
# An MLP over the flat vector has to learn for each of the 20 places separately what a good item is.
# `baselines.sb3.CandidatePolicy` has one network that values every candidate. It reads the layout of the observation from the
# environment, so that this is all:

settings = dict(buffer_size=50_000, learning_starts=500, seed=0)
model = DQN(CandidatePolicy, gym.make(ID), **settings)
model.learn(STEPS)
model.save(folder / "dqn")
model = DQN.load(folder / "dqn")

# Many users at once make training faster. `gymnasium.make_vec` steps them in one call, and `SB3VecEnv` is what
# Stable-Baselines3 takes:

users = SB3VecEnv(gym.make_vec(ID, num_envs=16, autoreset_mode="SameStep"))
many = DQN(CandidatePolicy, users, **settings, train_freq=1, gradient_steps=4)
many.learn(STEPS)

# ## How good is it?
#
# On users whom no agent has met, in the weeks 8 to 11 of the market, when other items are on offer. `"Disabled"` keeps a user who
# has left as he is, so that each counts for one session.


def returns(model):
    """Mean return of one session each, and its standard error."""
    env = gym.make_vec(ID, num_envs=USERS, weeks=(8, 12), autoreset_mode="Disabled")
    observation, _ = env.reset(seed=10**6)
    total, alive = np.zeros(USERS), np.ones(USERS, bool)
    while alive.any():
        action, _ = model.predict(observation, deterministic=True)
        observation, reward, terminated, truncated, _ = env.step(action)
        total += reward
        alive = ~(terminated | truncated)
    return f"{total.mean():5.2f} ± {total.std() / USERS**0.5:.2f}"


print("MlpPolicy                ", returns(stock))
print("CandidatePolicy          ", returns(model))
print("CandidatePolicy, 16 users", returns(many))

# `baselines` has the agents of the leaderboards, and `evaluate` does the same as the loop above.

for name in ("random", "popularity", "heuristic"):
    score = evaluate(
        make_agent(name), Task(ID, {"weeks": (8, 12)}), users=USERS, seed=10**6
    ).returns
    print(f"{name:25} {score.mean():5.2f} ± {score.std() / USERS**0.5:.2f}")

# That was a short training. After 50,000 steps, with the defaults of Stable-Baselines3 and one user at a time, both are above
# popularity on all three ids of single items, in each of three seeds (1000 other users; the records are in `benchmarks/tuning`):
#
# | 50,000 steps, three seeds | Ecommerce | News | LiveStream |
# | --- | --- | --- | --- |
# | `DQN(CandidatePolicy, env, buffer_size=50_000)` | 11.6, 9.2, 12.0 | 3.5, 3.4, 3.2 | 8.4, 8.6, 9.4 |
# | `DQN("MlpPolicy", env)` | 4.8, 4.6, 4.7 | 2.5, 2.4, 2.6 | 10.0, 9.1, 8.8 |
# | popularity | 3.8 | 1.9 | 4.4 |
#
# The policy of candidates learns more in Ecommerce and News, and about as much in LiveStream, where the place in the list, the best match
# first, says much. `make_agent("dqn")` has hyper-parameters of its own, and rows in the [leaderboards](../leaderboards/core-v1.md).

# What a session was like can be drawn.

import matplotlib.pyplot as plt

env = gym.make(ID, render_mode="rgb_array")
observation, info = env.reset(seed=7)
for _ in range(12):
    action, _ = model.predict(observation, deterministic=True)
    observation, reward, terminated, truncated, info = env.step(int(action))
    if terminated or truncated:
        break
plt.figure(figsize=(9, 5.25))
plt.imshow(env.render())
plt.axis("off")
plt.show()
