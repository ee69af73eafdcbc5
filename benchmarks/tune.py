"""Hyper-parameters by trial: what `python -m benchmarks tune AGENT --task ID` runs, with optuna.

Trials train and are scored on seeds of their own, from `TUNING_SEED` on. No suite reaches them, neither in training nor
in evaluation (`Suite` refuses it), so that what is tuned here has not seen what it will be judged by.

    <folder>/best.json     the best hyper-parameters, for `run --parameters @best.json`
    <folder>/tuning.json   what was asked for, and every trial so far: the same command goes on from there
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from baselines.agent import Task
from baselines.registry import agent_class, make_agent
from benchmarks.data import is_file, is_number, read_json, require_writable, write_json
from benchmarks.metrics import standard_error
from benchmarks.run import execute, make_env, software
from benchmarks.suite import FORMAT, SEED_STRIDE, TUNING_SEED, Job, check_options
from recgym.errors import ConfigError, require, require_count, require_number, require_option

TUNING_USER_SEED = TUNING_SEED + 10**9  # of the first user that trials are scored on
START_TRIALS = 10  # at random, before TPE takes over
Space = dict[str, dict[str, Any]]  # hyper-parameter -> its range, see `check_space`

_RATE = {"low": 1e-4, "high": 1e-2, "log": True}
_GAMMA = {"choices": [0.8, 0.9, 0.95, 0.98, 0.99]}
_WIDTH = {"choices": [32, 64, 128]}
SPACES: dict[str, Space] = {
    "linucb": {
        "alpha": {"low": 0.05, "high": 5.0, "log": True},
        "ridge": {"low": 0.1, "high": 1000.0, "log": True},
        "user": {"choices": [True, False]},
    },
    "thompson": {"ridge": {"low": 0.1, "high": 1000.0, "log": True}, "user": {"choices": [True, False]}},
    "pctr": {"epsilon": {"low": 0.0, "high": 0.3}},
    "reinforce": {"learning_rate": _RATE, "gamma": _GAMMA, "width": _WIDTH},
    "slateq": {
        "learning_rate": _RATE, "gamma": _GAMMA, "width": _WIDTH,
        "gradient_steps": {"low": 1, "high": 8}, "target_update": {"low": 50, "high": 1000, "log": True},
    },
    "dqn": {
        "learning_rate": _RATE, "gamma": _GAMMA, "width": _WIDTH, "gradient_steps": {"low": 1, "high": 4},
        "target_update_interval": {"low": 500, "high": 10_000, "log": True},
        "exploration_fraction": {"low": 0.1, "high": 0.6},
    },
    "qrdqn": {"learning_rate": _RATE, "gamma": _GAMMA, "width": _WIDTH, "gradient_steps": {"low": 1, "high": 4}},
    "ppo": {"learning_rate": _RATE, "gamma": _GAMMA, "width": _WIDTH},
    "maskable-ppo": {"learning_rate": _RATE, "gamma": _GAMMA, "width": _WIDTH},
}  # fmt: skip


class Trial(NamedTuple):
    """Hyper-parameters that were tried, with the mean return and its standard error; None, and the reason, if they failed."""

    number: int
    parameters: dict[str, Any]
    mean: float | None
    se: float | None
    error: str = ""


def tuning_jobs(agent: str, task: Task, parameters: dict[str, Any], steps: int, runs: int, users: int) -> list[Job]:
    """The jobs of one trial: `runs` training runs, all scored on the same `users` users, on tuning's own seeds."""
    require_count("steps", steps, 0, 10**12)
    require_count("seeds", runs, 1, 1000)
    require_count("users", users, 2, 10**6)
    return [
        Job(task, agent, parameters, steps, TUNING_SEED + SEED_STRIDE * k, users, TUNING_USER_SEED) for k in range(runs)
    ]


def space_of(agent: str) -> Space:
    """The search space of an agent: what its class declares as `space`, else the table's.

    Raises:
        ConfigError: there is none.
    """
    declared = getattr(agent_class(agent), "space", None)
    if isinstance(declared, dict):
        return declared
    if agent not in SPACES:
        raise ConfigError(
            f"space: none is known for {agent!r} (known: {sorted(SPACES)}); give one by --space file.json"
        )
    return SPACES[agent]


def check_space(agent: str, space: Space) -> None:
    """Check a search space: {"name": {"low": 1, "high": 8, "log": false}} or {"name": {"choices": [32, 64]}}.

    A range between two whole numbers holds whole numbers, ends included.

    Raises:
        ConfigError: not of that form, or no hyper-parameter of the agent.
    """
    require(isinstance(space, dict) and space, "space", "must be an object with one hyper-parameter at least", space)
    for name, spec in space.items():
        where = f"space[{name!r}]"
        require(isinstance(spec, dict), where, 'must be {"low": .., "high": ..} or {"choices": [..]}', spec)
        if "choices" in spec:
            require(set(spec) == {"choices"}, where, "must have nothing beside choices", spec)
            require(isinstance(spec["choices"], list) and spec["choices"], where, "must have a list of choices", spec)
        else:
            for key in spec:
                require_option(f"{where} key", key, ["low", "high", "log"])
            for key in ("low", "high"):
                require(key in spec, where, f"must have {key}", spec)
                require_number(f"{where} {key}", spec[key], -1e18, 1e18)
            require(spec["low"] < spec["high"], where, "must have low < high", spec)
            require(isinstance(spec.get("log", False), bool), f"{where} log", "must be true or false", spec.get("log"))
            require(not spec.get("log") or spec["low"] > 0, where, "must have low > 0 on a log scale", spec)
        make_agent(agent, **{name: _first(spec)})


def _first(spec: dict[str, Any]) -> Any:
    return spec["choices"][0] if "choices" in spec else spec["low"]


def tune(
    agent: str,
    task: Task,
    folder: str | os.PathLike[str],
    trials: int = 20,
    steps: int = 20_000,
    runs: int = 1,
    users: int = 500,
    seed: int = 0,
    space: Space | None = None,
    fixed: dict[str, Any] | None = None,
    command: str = "",
    notify: Callable[[Trial, Trial | None], None] = lambda trial, best: None,
) -> Trial:
    """Search with TPE (Bergstra et al., NeurIPS 2011) for the highest mean return; write best.json and tuning.json.

    A search that was stopped and goes on finds what one that was never stopped finds.

    Args:
        agent: registry name or "package.module:Class". task: where. folder: of results; the search there goes on.
        trials: how many in all. steps: user-steps per training run. runs: training runs per trial. users: scored on.
        seed: of the sampler. space: see `check_space`; None: `space_of` the agent. fixed: hyper-parameters not searched.
        command: how to repeat it. notify: called after each trial with it and the best so far.

    Returns:
        The best trial.

    Raises:
        ConfigError: a wrong argument, a folder of another search, or no trial that worked; or a task that cannot be
            made, pays a vector, or has an option of `suite.RESERVED`.
    """
    optuna = _optuna()
    require_count("trials", trials, 1, 10**6)
    require_count("seed", seed, 0, 2**32 - 1)
    folder, fixed, space = Path(folder), fixed or {}, space_of(agent) if space is None else space
    for name in fixed:
        require(name not in space, f"parameter {name}", "must not be in the search space too", fixed[name])
    make_agent(agent, **fixed)
    check_space(agent, space)
    check_options("task", task.options)
    make_env(task, 1).close()
    jobs = tuning_jobs(agent, task, fixed, steps, runs, users)
    search = {"format": FORMAT, "jobs": [job.to_dict() for job in jobs], "space": space, "seed": seed}
    require_writable("output", folder)
    file = folder / "tuning.json"
    past = _read(file, search) if is_file(file) else []
    while len(past) < trials:
        parameters = {**fixed, **_ask(optuna, space, past, seed)}
        try:
            jobs = tuning_jobs(agent, task, parameters, steps, runs, users)
            scores = [execute(job, curve_points=0).returns for job in jobs]
            means = [score.mean for score in scores]
            error = math.hypot(standard_error(means), float(np.mean([score.se for score in scores])))
            past.append(Trial(len(past), parameters, float(np.mean(means)), error))
        except Exception as error:  # hyper-parameters that do not go together; the search goes on without them
            past.append(Trial(len(past), parameters, None, None, f"{type(error).__name__}: {error}"))
        data = {"command": command, "search": search, "software": software(), "trials": [t._asdict() for t in past]}
        write_json(file, data)
        notify(past[-1], _best(past))
    best = _best(past[:trials])
    if best is None:
        raise ConfigError(f"tune: no trial of {agent} worked; the last said {past[-1].error}")
    write_json(folder / "best.json", best.parameters)
    return best


def _read(file: Path, search: dict[str, Any]) -> list[Trial]:
    data = read_json(file)
    try:
        same, trials = data["search"] == search, [Trial(**trial) for trial in data["trials"]]
        for trial in trials:
            scored = all(value is None or is_number(value) for value in (trial.mean, trial.se))
            if not (scored and isinstance(trial.parameters, dict) and isinstance(trial.error, str)):
                raise ValueError("a trial is not of the right form")
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"folder: {file} is corrupt: {type(error).__name__}: {error}") from None
    require(same, "folder", "must be empty or of the same search; choose another", str(file.parent))
    return trials


def _ask(optuna: Any, space: Space, past: list[Trial], seed: int) -> dict[str, Any]:
    """The hyper-parameters to try next. They depend on the past trials and the seed alone, so that a search may be stopped."""
    start = int(np.random.SeedSequence([seed, len(past)]).generate_state(1)[0])
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=start, n_startup_trials=START_TRIALS)
    )
    ranges = {name: _range(optuna.distributions, spec) for name, spec in space.items()}
    for trial in past:
        state = optuna.trial.TrialState.FAIL if trial.mean is None else optuna.trial.TrialState.COMPLETE
        try:
            searched = {name: trial.parameters[name] for name in space}
            study.add_trial(
                optuna.trial.create_trial(state=state, value=trial.mean, params=searched, distributions=ranges)
            )
        except (KeyError, ValueError, TypeError) as error:
            raise ConfigError(
                f"folder: trial {trial.number} in tuning.json is outside the search space: {error}"
            ) from None
    return study.ask(ranges).params


def _range(kinds: Any, spec: dict[str, Any]) -> Any:
    if "choices" in spec:
        return kinds.CategoricalDistribution(spec["choices"])
    whole = isinstance(spec["low"], int) and isinstance(spec["high"], int)
    kind = kinds.IntDistribution if whole else kinds.FloatDistribution
    return kind(spec["low"], spec["high"], log=spec.get("log", False))


def _best(trials: list[Trial]) -> Trial | None:
    return max((t for t in trials if t.mean is not None), key=lambda t: t.mean or 0.0, default=None)


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError:
        raise ConfigError('tune: needs optuna: pip install "recgym[tune]", got no optuna') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
