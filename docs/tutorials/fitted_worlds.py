# # Fitted worlds
#
# A world can be fitted to logs: who was shown what, in which position, and clicked. This page is of logs that do not know their
# users, such as the [Open Bandit Dataset](../about/cite.md): the fit is of clicks by item and position, and says how far to trust
# the result. For logs with users see [fitting](../concepts/fitting.md). This script makes a log of its own, so that the truth is
# known, and looks for it.

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import recgym
from baselines import Task, evaluate, make_agent
from recgym.fit import fit_open_bandit
from recgym.logs import Interactions

ROWS = 60_000
USERS = 500
folder = Path(tempfile.mkdtemp())

# ## A log
#
# Forty items in three positions, shown at random. What nobody knows: how good each item is, and that the second position
# is looked at half as often as the first.

rng = np.random.default_rng(0)
items, positions = 40, 3
appeal = rng.normal(-2.5, 0.6, items)  # log-odds of a click
examination = np.array([1.0, 0.5, 0.25])
item, position = rng.integers(items, size=ROWS), rng.integers(positions, size=ROWS)
chance = examination[position] / (1 + np.exp(-appeal[item]))
click = rng.random(ROWS) < chance
second = np.sort(rng.integers(7 * 86_400, size=ROWS))  # of a week
start = np.datetime64("2026-03-02T00:00:00", "us")

with open(folder / "log.csv", "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["timestamp", "item", "position", "click"])
    for row in zip(start + second * 1_000_000, item, position, click.astype(int)):
        writer.writerow(row)
print((folder / "log.csv").read_text()[:110])

# ## Reading it
#
# `recgym.logs.Interactions` checks what it is given: ranges, lengths, probabilities. `propensity` is the probability with
# which the logging policy showed the item there, here 1 of 40. `items` is what is known of the items; this fit wants one
# number and three categories.

with open(folder / "log.csv", newline="") as file:
    rows = list(csv.DictReader(file))
log = Interactions(
    timestamp=np.array([row["timestamp"] for row in rows], "datetime64[us]"),
    item=np.array([row["item"] for row in rows], np.int32),
    position=np.array([row["position"] for row in rows], np.int32),
    click=np.array([row["click"] == "1" for row in rows]),
    propensity=np.full(len(rows), 1 / items),
    policy=np.zeros(len(rows), np.int32),
    policies=("random",),
    n_items=items,
    n_positions=positions,
    items={
        "item_feature_0": rng.normal(size=items),
        "item_feature_1": rng.integers(4, size=items).astype(np.int32),
        "item_feature_2": rng.integers(5, size=items).astype(np.int32),
        "item_feature_3": rng.integers(3, size=items).astype(np.int32),
    },
)

# ## A world, and how far to trust it
#
# The fit is a logistic model of item and position with normal priors, whose spread it finds by itself; folds that it has
# not seen say whether it predicts better than simpler models.

world, report = fit_open_bandit(log, candidates=20, folds=5)
for finding in report.findings:
    print("-", finding)
for found in report.examination:
    print(f"examined: {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]")

utility = world.preference.table
plt.figure(figsize=(4.5, 4))
plt.plot(appeal, utility, "o")
plt.plot(appeal, appeal, color="0.6")
plt.xlabel("true log-odds of a click")
plt.ylabel("fitted")
plt.show()

# The items with few clicks are drawn towards the mean: that is the prior.
#
# ## Playing in it
#
# `save` writes numbers and arrays, no code. The folder is a world by its path, in `gymnasium.make` and in suites.

world.save(folder / "my-world")
env = gym.make("recgym/EcommerceSlate-v0", world=str(folder / "my-world"), slate_size=3)
print(env.action_space)
task = Task(
    "recgym/EcommerceSlate-v0", {"world": str(folder / "my-world"), "slate_size": 3}
)
for name in ("random", "popularity", "myopic"):
    score = evaluate(make_agent(name), task, users=USERS, seed=10**6).returns
    print(f"{name:10} {score.mean():.2f} ± {score.std() / USERS**0.5:.2f} clicks")

# Nobody's state moves in this world, so it is a bandit: what it can tell is which items are clicked where. With parts of
# the [zoo](../parts/index.md) it becomes more, by assumption rather than by data: `world.replace(dynamics=...)`.
#
# ## On the command line
#
# Files in the format of the Open Bandit Dataset (`random/all/all.csv` and `item_context.csv`) need no script:
# `python -m recgym fit open-bandit DIR -o my-world/` writes world and report. One such world ships with the package.

command = [sys.executable, "-m", "recgym", "worlds"]
print(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
print(
    evaluate(
        make_agent("random"),
        Task("recgym/Ecommerce-v0", {"world": "open-bandit"}),
        users=USERS,
    ).returns.mean()
)
