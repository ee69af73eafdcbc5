"""Checks of the contracts of recgym, for your own parts, worlds, environments and agents.

    from recgym.testing import check_component, check_world, check_env, check_agent

A check that passes returns nothing; one that fails raises an AssertionError that says what breaks the contract and by
how much.
"""

from recgym.testing.agents import check_agent as check_agent
from recgym.testing.arrays import random_slates as random_slates
from recgym.testing.components import check_component as check_component
from recgym.testing.envs import check_env as check_env
from recgym.testing.worlds import check_world as check_world
