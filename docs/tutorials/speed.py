# # Speed
#
# What makes a simulation fast here: many users in one call, a step that is compiled as a whole, and a training loop that
# uses both. A speed means nothing without what stands beside it, so that all numbers of this page are ratios, measured
# when the page was made, on whatever else the machine did.

import time

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import recgym

ID = "recgym/EcommerceSlate-v0"
WINDOWS = 3


def rate(env, seconds=0.5):
    """User-steps per second with random actions, resets included."""
    actions = [env.action_space.sample() for _ in range(16)]
    single, users = not hasattr(env, "num_envs"), getattr(env, "num_envs", 1)
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() < begin + seconds:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if single and (terminated or truncated):
                env.reset()
        steps += len(actions) * users
    return steps / (time.perf_counter() - begin)


# ## Many users
#
# `gym.make_vec` gives a batch that is stepped in one call; each row is the same user, to the bit, that `gym.make` would
# simulate. `fuse` compiles the step at once (an env that has been at work for a second does it by itself). CartPole,
# whose physics is five lines of Python, is the yardstick. The environments take turns, and the median of the ratios
# counts, as machines have moods.

cartpole = gym.make("CartPole-v1")
envs = {"CartPole-v1": cartpole, "one user": gym.make(ID)}
sizes = (1, 16, 256, 4096)
for size in sizes:
    envs[f"batch of {size}"] = gym.make_vec(
        ID, num_envs=size, autoreset_mode="SameStep"
    )
for env in envs.values():
    env.reset(seed=0)
    if env is not cartpole:
        env.unwrapped.fuse()
windows = []
for _ in range(WINDOWS):
    rates = {name: rate(env) for name, env in envs.items()}
    windows.append(
        {name: found / rates["CartPole-v1"] for name, found in rates.items()}
    )
ratio = {name: np.median([window[name] for window in windows]) for name in envs}
for name, times in ratio.items():
    print(f"{name:12} {times:8.2f} x CartPole")

plt.figure(figsize=(5.5, 3.5))
plt.loglog(sizes, [ratio[f"batch of {size}"] for size in sizes], "o-")
plt.axhline(1, color="0.6", linestyle="--", label="CartPole-v1")
plt.xlabel("users in a batch")
plt.ylabel("user-steps per second, CartPole = 1")
plt.legend()
plt.show()

# A batch has a cost per call and a cost per user; beyond some hundred users the second is what counts, and a batch that
# no longer fits into the processor's cache gains nothing more.
#
# ## What compiling brings
#
# Until its step is compiled, an env calls one kernel after the other from Python. The numbers are the same, to the bit.

ratios = []
for _ in range(WINDOWS):
    plain, compiled = (
        gym.make_vec(ID, num_envs=16, autoreset_mode="SameStep") for _ in range(2)
    )
    compiled.unwrapped.fuse()
    action = compiled.action_space.sample()
    for env in (plain, compiled):
        env.reset(seed=0)
    assert np.array_equal(plain.step(action)[0], compiled.step(action)[0])
    before = rate(plain, 0.3)  # soon it will have compiled its step, too
    ratios.append(rate(compiled, 0.3) / before)
print(f"compiled, 16 users: {np.median(ratios):.1f} x as fast")

# ## Training
#
# With a batch the environment is no longer what takes the time: networks are. So give an algorithm many users
# (`SB3VecEnv`), and fewer gradient steps for each of them.

import torch
from baselines.sb3 import CandidatePolicy, SB3VecEnv
from stable_baselines3 import DQN

torch.set_num_threads(1)
STEPS = 3_000


def seconds(env, **settings):
    model = DQN(
        CandidatePolicy, env, buffer_size=20_000, learning_starts=500, **settings
    )
    begin = time.perf_counter()
    model.learn(STEPS)
    return time.perf_counter() - begin


shop = "recgym/Ecommerce-v0"
many = SB3VecEnv(gym.make_vec(shop, num_envs=16, autoreset_mode="SameStep"))
one = seconds(gym.make(shop))
for steps in (4, 1):
    times = one / seconds(many, train_freq=1, gradient_steps=steps)
    print(f"16 users, {steps} gradient steps for each of theirs: {times:.1f} x as fast")

# The first of them makes as many gradient steps as the single user's training does. `slate-ppo`, which takes few
# gradient steps of many users each, learns from a million user-steps in about a minute
# ([long-v1](../leaderboards/long-v1.md)). What was measured beside RecSim, SARDINE and RecoGym stands under
# [throughput](../leaderboards/throughput.md), and `python -m benchmarks throughput` measures it anew;
# `python -m benchmarks training` says where the time of a training goes.
