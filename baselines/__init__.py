"""Agents for recgym: references that know the simulator, bandits, and deep reinforcement learning."""

from baselines.agent import Agent, OnlineAgent, Score, Task, evaluate
from baselines.pretrained import load_pretrained
from baselines.registry import REGISTRY, agent_class, make_agent

__all__ = [
    "REGISTRY",
    "Agent",
    "OnlineAgent",
    "Score",
    "Task",
    "agent_class",
    "evaluate",
    "load_pretrained",
    "make_agent",
]
