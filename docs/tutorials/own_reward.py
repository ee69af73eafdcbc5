# # Your own reward, and a Pareto front
#
# What happened in a step are its *objectives*: clicks, minutes, purchases. The reward is made of them. The objectives are in
# `info` whatever the reward is.

from dataclasses import dataclass

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import recgym
from baselines import Task, evaluate, make_agent
from recgym.models.reward import Reward

STEPS = 6_000
USERS = 1_000
env = gym.make("recgym/News-v0", reward={"click": 1.0, "share": 20.0})
env.reset(seed=0)
_, reward, _, _, info = env.step(0)
print(dict(zip(env.unwrapped.objectives, info["objectives"].tolist())))

# ## Any function of the step
#
# A function gets what happened (`recgym.Feedback`), the catalogue and the users, and returns a number per user. This one pays
# clicks, and a bonus for each topic in the slate. As a class it has settings and can be saved with a world.


@dataclass(frozen=True, eq=False)
class Diverse(Reward):
    """Clicks, and `weight` for each topic that is shown."""

    weight: float = 0.1

    def __call__(self, feedback, catalog, users):
        topic = np.where(feedback.slate >= 0, catalog.topic[feedback.slate], -1)
        topics = [len(set(row) - {-1}) for row in topic.tolist()]
        return feedback.click.sum(axis=1) + self.weight * np.array(topics)


env = gym.make("recgym/NewsSlate-v0", reward=Diverse(0.2))
env.reset(seed=0)
print(env.step([0, 1, 2, 3, 4])[1])

# A plain function does, too: `reward=lambda feedback, catalog, users: feedback.click.sum(axis=1) ** 2`.
#
# ## A vector of rewards
#
# `reward="vector"` pays all objectives, as MO-Gymnasium has it, with a `reward_space`.

env = gym.make("recgym/News-v0", reward="vector")
env.reset(seed=0)
print(env.unwrapped.reward_space.shape, env.step(0)[1])

# ## A Pareto front
#
# More clicks or more reading? `objective_weights` are what an agent is trained for. To compare preferences alone, sessions
# have a fixed length here, so that nobody earns more by longer visits: `departure` is another part of the world.
# LinUCB learns from 6,000 steps at each of five preferences.

options = {"departure": {"kind": "Never"}, "horizon": 40}
train = Task("recgym/News-v0", options)
test = Task("recgym/News-v0", {**options, "weeks": (8, 12)})
points = {"linucb": [], "one-step": []}
for share in (1.0, 0.75, 0.5, 0.25, 0.0):
    weights = {"click": share, "dwell": 2 * (1 - share)}
    agents = {
        "linucb": make_agent("linucb", objective_weights=weights),
        "one-step": make_agent("one-step", weights=weights),
    }
    for name, agent in agents.items():
        agent.fit(train, steps=STEPS)
        score = evaluate(agent, test, users=USERS, seed=10**6)
        mean = dict(zip(score.names, score.objectives.mean(axis=0)))
        click, dwell = mean["click"], mean["dwell"]
        points[name].append((click, dwell))
        print(f"{name:9} {weights}: {click:.2f} clicks, {dwell:.2f} minutes")

plt.figure(figsize=(6, 4))
for name, found in points.items():
    plt.plot(*zip(*found), "o-", label=name)
plt.xlabel("clicks per session")
plt.ylabel("minutes per session")
plt.legend()
plt.show()

# `one-step` knows the hidden state of the user and shows what pays most in the step; it is a reference, not a competitor. Points that
# lie closer than their intervals are no trade-off: the reports of `pareto-v1`
# ([suites](../leaderboards/suites.md)) say how many are.
