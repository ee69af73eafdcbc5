"""Agents for recgym: references that know the simulator, bandits, and deep reinforcement learning."""

from baselines.agent import Agent, OnlineAgent, Score, Task, evaluate
from baselines.registry import REGISTRY, agent_class, make_agent

__all__ = ["REGISTRY", "Agent", "OnlineAgent", "Score", "Task", "agent_class", "evaluate", "make_agent"]
