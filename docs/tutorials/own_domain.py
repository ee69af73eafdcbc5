# # Your own domain
#
# A domain is a function that returns a `World`: a catalogue, the people who come, and a part of each family. Here is a
# radio: one song after the other, listeners who tire of a genre, and who switch off when they have heard too much of it.
#
# ## The parts
#
# All but one are recgym's ([the list](../parts/index.md)). The last one is ours: what a song is worth to the station
# depends on the royalty, so the reward is a class of its own.

from dataclasses import dataclass

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import recgym
from baselines import Task, evaluate, make_agent
from recgym.catalog import Catalog
from recgym.market import StaticMarket
from recgym.models.candidates import Uniform
from recgym.models.choice import PositionBased
from recgym.models.departure import Hazard
from recgym.models.dynamics import Fatigue, InterestDrift
from recgym.models.preference import DotProduct
from recgym.models.response import Clicks
from recgym.models.reward import Reward
from recgym.population import TopicMixture, draw_items, draw_topics
from recgym.testing import check_env, check_world

STEPS = 10_000
USERS = 500


@dataclass(frozen=True, eq=False)
class Royalties(Reward):
    """1 for a song that is heard to its end, less the royalty of the song."""

    def __call__(self, feedback, catalog, users):
        song = np.maximum(feedback.slate, 0)  # -1 is an empty position
        worth = 1 - catalog["royalty"][song]
        return np.where(feedback.click, worth, 0).sum(axis=1)


# ## The function
#
# Its keyword arguments become arguments of `gymnasium.make`. `World.of` takes the parts that a user passes instead, here
# under the name `parts`, and checks that all of them fit together.


def radio(*, songs=2_000, genres=12, half_life=15.0, seed=0, **parts):
    """A radio: songs of some genres; weariness of a genre halves every `half_life` minutes."""
    rng = np.random.default_rng([seed, 4711])
    centres = draw_topics(rng, genres, 8)
    genre, embedding = draw_items(rng, songs, centres)
    attributes = np.stack([rng.normal(0, 1, songs), rng.uniform(0, 0.5, songs)], axis=1)
    return recgym.World.of(
        parts,
        catalog=Catalog(
            embedding,
            genre,
            attributes,
            ("appeal", "royalty"),
            genres,
            visible=("appeal", "royalty"),
        ),
        population=TopicMixture(centres),
        market=StaticMarket.of(songs),  # no prices, no weeks
        candidates=Uniform(20),
        preference=DotProduct(3.0, {"appeal": 0.5}, topics={"fatigue": -1.5}),
        choice=PositionBased(examination=1.0, threshold=1.0),
        response=Clicks(minutes=3.0),
        dynamics=(
            InterestDrift(0.01),
            Fatigue(ignored=0.3, clicked=0.5, half_life=half_life),
        ),
        departure=Hazard(level=-4.0, satisfaction=0.0, fatigue=0.8),
        reward=Royalties(),
        horizon=60,
    )


# ## Does it keep the contract?
#
# `check_world` tries what the simulation relies on, `check_env` what Gymnasium and its users do.

check_world(radio())

# ## An id
#
# From here on it is an environment like any other: batches, dictionaries of observations, agents and suites work.

recgym.register_world("radio", radio, {"mine/Radio-v0": {}})
check_env("mine/Radio-v0")
env = gym.make("mine/Radio-v0", half_life=30.0)
observation, info = env.reset(seed=0)
print(env.action_space, observation.shape, env.unwrapped.objectives)
print(env.unwrapped.batch.world)

# ## Is it worth learning?
#
# Three agents, where weariness passes quickly and where it stays. `linucb` learns what is heard to the end, and looks at
# nothing beyond the next song; `dqn` looks ahead, for which so few steps need not be enough.

half_lives = (5.0, 60.0)
found = {}
for half_life in half_lives:
    task = Task("mine/Radio-v0", {"half_life": half_life})
    for name, steps in {"random": 0, "linucb": STEPS, "dqn": STEPS}.items():
        agent = make_agent(name)
        agent.fit(task, steps=steps)
        score = evaluate(agent, task, users=USERS, seed=10**6)
        found.setdefault(name, []).append(score.returns.mean())
        error = score.returns.std() / USERS**0.5
        print(
            f"half-life {half_life:4.0f} min  {name:7} {score.returns.mean():6.2f} ± {error:.2f}"
            f"   {score.lengths.mean():4.1f} songs"
        )

plt.figure(figsize=(6, 3.5))
for name, returns in found.items():
    plt.plot(half_lives, returns, "o-", label=name)
plt.xlabel("half-life of weariness, minutes")
plt.ylabel("return per session")
plt.legend()
plt.show()

# ## Sharing it
#
# A package that has the entry point `radio = "my_package.radio:radio"` of the group `recgym.worlds` registers it without
# a call. `tests/strangers/hotels.py` is a domain with a departure of its own, compiled. For a domain that others are to
# solve, ask what [yardsticks](../concepts/yardsticks.md) ask: does a rule of one line solve it, does an oracle of the
# step?
