# # Suites, and submitting a result
#
# A suite is tasks × agents × seeds, as a file. The published ones never change, so that results stay comparable.
# Everything here happens on the command line; this script calls it with small budgets, from within Python, so that the
# page is made sooner.

import contextlib
import io
import json
import os
import re
import tempfile
from pathlib import Path
from unittest.mock import patch

from benchmarks.__main__ import app

STEPS = 1_500
USERS = 200  # on whom agents are evaluated
folder = Path(tempfile.mkdtemp())


def benchmarks(command):
    """What `python -m benchmarks` prints, given these arguments."""
    printed, wide = io.StringIO(), patch.dict(os.environ, COLUMNS="86")
    with wide, contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        app(command.split(), standalone_mode=False)
    return printed.getvalue()


# ## An agent in a file of its own
#
# An agent is a dataclass whose fields are its hyper-parameters. This one weighs quality against match, and learns nothing.

(folder / "balanced.py").write_text("""
from dataclasses import dataclass

import numpy as np

from baselines import Agent
from baselines.reference import candidate_feature, top


@dataclass
class Balanced(Agent):
    "Shows the candidates with the best sum of quality and weighted match."

    match: float = 0.5

    def act(self, observation, mask, explore=False):
        quality = candidate_feature(self.env, observation, "quality_signal")
        match = candidate_feature(self.env, observation, "match_profile")
        null = self.env.actions.null  # whether choice 0 is to show nothing
        score = np.where(mask[:, int(null):], quality + self.match * match, -np.inf)
        return self.env.actions.encode(top(score, self.env.world.slate_size) + null)
""")

# ## A suite in a file of its own
#
# [The format](../leaderboards/suites.md) has a page. Tasks train in early weeks and are evaluated in later ones.

suite = {
    "name": "tutorial-v0",
    "about": "who finds quality in the shop",
    "seeds": [0],
    "users": USERS,
    "user_seed": 1_000_000_000,
    "tasks": [
        {
            "name": "Ecommerce-v0",
            "id": "recgym/Ecommerce-v0",
            "options": {"weeks": [0, 8]},
            "steps": STEPS,
            "evaluation": {"id": "recgym/Ecommerce-v0", "options": {"weeks": [8, 12]}},
        }
    ],
    "agents": [
        {"label": "balanced", "agent": "balanced.py:Balanced", "trained": False},
        {"label": "linucb", "agent": "linucb"},
        {"label": "random", "agent": "random", "trained": False},
    ],
}
(folder / "tutorial.json").write_text(json.dumps(suite, indent=1))
benchmarks("run tutorial.json -w 1 -o results")
print(
    re.search(
        r"\| agent.*?(?=\n\n)",
        (folder / "results/leaderboard.md").read_text().split("## Ecommerce-v0")[1],
        re.S,
    )[0]
)

# Killed or stopped, the same command goes on with what is missing. The folder has one file for each job, the leaderboard, a
# picture and a page that needs no server.

print(sorted(path.name for path in (folder / "results").iterdir()))

# ## Submitting
#
# `pack` turns the job files into two, the form in which results are published. `submit-check` is what a reviewer runs: it reads
# the files as data, loads no code of the contribution's unless `--trust` names it, and runs a sample of the jobs again.

print(benchmarks("pack results"))
print(benchmarks("submit-check results"))

# A row of a published suite is made by `python -m benchmarks run core-v1 --only dqn -o my-results`, a row of your own by
# `python -m benchmarks run --agent balanced.py:Balanced --task recgym/News-v0 --steps 50000 --seeds 3`.
