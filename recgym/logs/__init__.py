"""Interaction logs: one table of events, whatever they come from.

logs = recgym.logs.read("csv", "events.csv", columns={"user": "customer_id", "time": "ts"})
print(logs.describe())
"""

from recgym.logs.open_bandit import CATEGORIES, Interactions, read_open_bandit
from recgym.logs.table import COLUMNS, Logs, Problem

__all__ = ["CATEGORIES", "COLUMNS", "Interactions", "Logs", "Problem", "read_open_bandit"]
