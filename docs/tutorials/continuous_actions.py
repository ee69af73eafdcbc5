# # Continuous actions
#
# Algorithms for continuous actions, such as SAC and TD3, cannot pick one of 20 candidates. `action="weights"` lets them:
# an action is a vector of weights, one for each number that is visible of a candidate, and the candidates with the
# largest weighted sums are shown.

import gymnasium as gym
import numpy as np
import recgym
from baselines import Task, evaluate, make_agent

STEPS = 1_000
USERS = 500  # on whom agents are evaluated
env = gym.make("recgym/EcommerceSlate-v0", action="weights")
names = [part.name for part in env.unwrapped.observation_layout["candidates"].parts]
print(env.action_space)
print(names)

# ## Weights by hand
#
# Good quality and a good match are two entries. A batch of B users takes actions of shape (B, number of weights):


def mean_return(**weights):
    """Of one session per user in later weeks, where one action is taken in all steps."""
    env = gym.make_vec(
        "recgym/EcommerceSlate-v0",
        num_envs=USERS,
        action="weights",
        weeks=(8, 12),
        autoreset_mode="Disabled",
    )
    action = np.zeros(env.action_space.shape, np.float32)
    for name, weight in weights.items():
        action[:, names.index(name)] = weight
    env.reset(seed=10**6)
    total, alive = np.zeros(USERS), np.ones(USERS, bool)
    while alive.any():
        _, reward, terminated, truncated, _ = env.step(action)
        total += reward
        alive = ~(terminated | truncated)
    return f"{total.mean():.2f} ± {total.std() / USERS**0.5:.2f}"


print("quality", mean_return(quality_signal=1.0))
print("quality and match", mean_return(quality_signal=0.5, match_profile=1.0))
print("worst quality", mean_return(quality_signal=-1.0))

# ## Weights that are learned
#
# A policy can give other weights in other situations. `make_agent("sac")` and `make_agent("td3")` are
# Stable-Baselines3's; a thousand steps show that it runs, not what it can learn.

task = Task("recgym/EcommerceSlate-v0", {"action": "weights"})
agent = make_agent("sac", learning_starts=64)
agent.fit(task, steps=STEPS)
score = evaluate(
    agent, Task(task.id, {**task.options, "weeks": (8, 12)}), users=USERS, seed=10**6
).returns
print(f"sac: {score.mean():.2f} ± {score.std() / USERS**0.5:.2f}")

# The same with Stable-Baselines3 alone; any library that takes a `Box` will do.

import torch
from stable_baselines3 import TD3

torch.set_num_threads(1)  # networks as small as these are faster on one thread
TD3("MlpPolicy", env, learning_starts=100, buffer_size=10_000).learn(STEPS // 5)

# `action="embedding"` is another form: a point in the space of the items' embeddings, of which the nearest candidates
# are shown (Dulac-Arnold et al. 2015). Neither quality nor price can be chosen by it.

print(
    gym.make(
        "recgym/EcommerceSlate-v0", action="embedding", embeddings=True
    ).action_space
)
