"""Interaction logs: one table of events, whatever they come from.

logs = recgym.logs.read("csv", "events.csv", columns={"user": "customer_id", "time": "ts"})
print(logs.describe())
"""

from recgym.logs import datasets as datasets
from recgym.logs import plain as plain
from recgym.logs.assemble import Tables
from recgym.logs.convert import Clock, Rule
from recgym.logs.open_bandit import CATEGORIES, Interactions, read_open_bandit
from recgym.logs.readers import READERS, Reading, read, register_reader
from recgym.logs.simulate import simulate
from recgym.logs.table import COLUMNS, Logs, Problem, check_place

__all__ = [
    "CATEGORIES",
    "COLUMNS",
    "READERS",
    "Clock",
    "Interactions",
    "Logs",
    "Problem",
    "Reading",
    "Rule",
    "Tables",
    "check_place",
    "read",
    "read_open_bandit",
    "register_reader",
    "simulate",
]
