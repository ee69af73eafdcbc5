# # Slate agents
#
# In the ids with `Slate` an action is a whole slate, here five of 20 candidates: 1,860,480 ordered slates. Three ways to
# learn that: treat a slate as independent positions, sum up values of items (SlateQ), or draw items one after the other
# (SlatePPO).

import time

import gymnasium as gym
import recgym
from baselines import Task, evaluate, make_agent

ID = "recgym/NewsSlate-v0"
STEPS = 2_000
USERS = 500  # on whom agents are evaluated
env = gym.make(ID)
print(env.action_space)

# An action mask says which candidates are there. A random slate among them:

observation, info = env.reset(seed=0)
mask = info["action_mask"]
print(env.action_space.sample((mask,) * 5))

# An item that is repeated counts once, at its first position; the later position stays empty.

_, _, _, _, info = env.step([3, 3, 1, 0, 2])
print(info["slate"], info["click"].astype(int))

# ## Who learns what from a few steps
#
# `slateq` values items and how likely each is clicked, and combines both (Ie et al. 2019). `slate-ppo` is proximal policy
# optimisation on slates drawn without replacement; it takes few gradient steps of many user-steps each, so that it is
# fast and wants more of them. `linucb` looks one step ahead.

train, test = Task(ID), Task(ID, {"weeks": (8, 12)})
budgets = {
    "slateq": STEPS,
    "slate-ppo": 20 * STEPS,
    "linucb": STEPS,
    "heuristic": 0,
    "random": 0,
}
for name, steps in budgets.items():
    agent = make_agent(name)
    begin = time.perf_counter()
    agent.fit(train, steps=steps)
    seconds = time.perf_counter() - begin
    score = evaluate(agent, test, users=USERS, seed=10**6).returns
    print(
        f"{name:10} {steps:7,} steps {seconds:5.1f} s   {score.mean():.2f} ± {score.std() / USERS**0.5:.2f}"
    )

# With so few steps it is hard to beat an agent that looks one step ahead. Published rows have 50,000 steps and five seeds: [slate-v1](../leaderboards/slate-v1.md).
#
# ## Why this slate?
#
# `explain` says what each group of features adds to the value of each candidate.

agent = make_agent("linucb")
agent.fit(train, steps=STEPS)
users = gym.make_vec(ID, num_envs=4)
observation, info = users.reset(seed=0)
agent.start(users)
why = agent.explain(observation, info["action_mask"])
print(why.to_markdown(row=0, choices=4, groups=3))

# ## A choice model that is known
#
# SlateQ may be given the world's own choice model, as in the paper's table; it then reads the user's hidden state, and is a reference.

print(
    make_agent("slateq", choice_model="given").privileged,
    make_agent("slateq").privileged,
)
