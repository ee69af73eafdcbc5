# # Your own preference model
#
# A [world](../concepts/world.md) is made of parts, and each of them can be yours. Here is a preference in which a price above
# what the user expects counts more than one as far below it: loss aversion (Kahneman and Tversky, 1979).
#
# A part is a frozen dataclass. Its fields are its settings, and its call computes with arrays that have one row per user;
# it must be a pure function. What an item costs or how popular it is at the moment are *signals* of the market.

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import recgym
from baselines import Task, evaluate, make_agent
from recgym.models.preference import Preference
from recgym.testing import check_component

USERS = 300
world = recgym.load_world("ecommerce")
signals = [signal.name for signal in world.market.signals]
print(signals)


@dataclass(frozen=True, eq=False)
class LossAverse(Preference):
    """utility = scale u.x - 2 loss(p); loss(p) = p for p < 0, else aversion p."""

    scale: float = 3.0
    aversion: float = 2.0
    price: int = signals.index("price")  # log of price / usual price of the category

    def __call__(self, users, catalog, signals, items):
        embedding = catalog.embedding[items]  # (B, S, d)
        match = np.einsum("bd,bsd->bs", users.interest, embedding)
        price = signals[:, :, self.price]  # (B, S)
        loss = np.where(price > 0, self.aversion * price, price)
        utility = np.where(items >= 0, self.scale * match - 2 * loss, -np.inf)
        return utility.astype(np.float32)


# ## Does it keep the contract?
#
# `check_component` puts the part into a world and tries what the simulation relies on: shapes and dtypes, no writing into
# what it was given, each row computed from that row alone.

check_component(LossAverse(), world=world)

# ## In an environment
#
# A part is an argument of `gymnasium.make`. All other parts stay those of the shop.

env = gym.make("recgym/Ecommerce-v0", preference=LossAverse(aversion=3.0))
observation, info = env.reset(seed=0)
print(env.unwrapped.batch.world.preference)

# ## What does it change?
#
# The same users, the same noise and the same agent, in both worlds: what differs is the preference.

for name, preference in {
    "linear": LossAverse(aversion=1.0),
    "loss averse": LossAverse(aversion=4.0),
}.items():
    env = gym.make_vec(
        "recgym/Ecommerce-v0",
        num_envs=USERS,
        preference=preference,
        autoreset_mode="Disabled",
    )
    agent = make_agent("popularity")
    observation, info = env.reset(seed=0)
    agent.start(env)
    clicks = shown = 0
    for _ in range(30):
        observation, reward, terminated, truncated, info = env.step(
            agent.act(observation, info["action_mask"])
        )
        clicks += info["click"].sum()
        shown += (info["slate"] >= 0).sum()
    print(f"{name:12} {clicks / shown:.2%} of the items shown are clicked")

# Agents take a part by its JSON form, so that the job of a [suite](suites.md) can be written down. A class of your own is known by
# its name as soon as it is defined.

task = Task(
    "recgym/Ecommerce-v0", {"preference": {"kind": "LossAverse", "aversion": 4.0}}
)
print(evaluate(make_agent("random"), task, users=USERS).returns.mean().round(2))

# ## Faster
#
# With a part in NumPy the step stays in Python. A part may say `fusable = True` if it does its arithmetic in kernels (functions
# that numba compiles) at the top level of a module; the step is then compiled as a whole, see
# [batches and fusion](../concepts/batches.md). `tests/strangers/loss_averse.py` is this part in that form.
