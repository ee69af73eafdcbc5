"""A program that uses recgym, checked as strictly as pyright can, and run: see test_typing.py."""

# pyright: strict
from dataclasses import dataclass, replace
from typing import assert_type

import numpy as np

import recgym
from recgym import Feedback, RecEnv, RecVectorEnv, Users, World
from recgym.models.choice import Cascade
from recgym.models.departure import Departure
from recgym.types import Array


@dataclass(frozen=True, eq=False)
class Toss(Departure):
    rate: float = 0.5

    def uniforms(self, sizes: recgym.Sizes) -> int:
        return 1

    def __call__(self, users: Users, feedback: Feedback, noise: Array) -> dict[str, Array]:
        return {"left": noise[0] < self.rate}


world = recgym.load_world("news", slate_size=2)
assert_type(world, World)
world = replace(world, choice=Cascade(attention=0.8), departure=Toss())
users = world.arrive(recgym.mix([0, 1, 2]))
after, feedback = world.step(users, users.candidates[:, :2].copy(), world.noise(users))
assert_type(after, Users)
assert_type(feedback, Feedback)
print(feedback.probability.mean(), world.objectives[0].upper(), len(world.catalog))

env = RecEnv(world, slate_size=2, render_mode="ansi")
observation, info = env.reset(seed=0)
observation, reward, terminated, truncated, info = env.step([0, 1])
print(observation.shape, float(reward) + 1, terminated or truncated, info["action_mask"])
batch = RecVectorEnv(world, num_envs=4, slate_size=2)
observation, info = batch.reset(seed=0)
print(batch.step(np.zeros((4, 2), int))[1])
