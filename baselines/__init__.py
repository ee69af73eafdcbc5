"""Agents for recgym: references that know the simulator, bandits, and deep reinforcement learning."""

from baselines.agent import REGISTRY, Agent, OnlineAgent, Score, Task, agent_class, evaluate, make_agent

__all__ = ["REGISTRY", "Agent", "OnlineAgent", "Score", "Task", "agent_class", "evaluate", "make_agent"]
