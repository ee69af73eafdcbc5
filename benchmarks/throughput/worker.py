"""Steps of another package, measured in a virtual environment of its own; `benchmarks.throughput.peers` starts this file.

    python -I worker.py sardine

It imports nothing of recgym. The first line that it prints is a JSON object: the versions of the packages that matter.
Then each line that it reads, a JSON list of a task and a number of seconds, is answered by a JSON list of the user-steps
done and the seconds that they took. Actions are random and drawn before the clock starts; observations are built, and
resets are included in the time but not in the steps. Standard output is for these lines alone: what packages print goes
to standard error.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import Any

import numpy as np

DRAWN = 1024  # actions drawn before the clock starts, used in turn
STEPS_A_CALL = 100  # of RecSim NG, where a call is a whole simulation

Step = Callable[[int], int]  # takes the number of the call, returns the user-steps done


def sardine() -> tuple[dict[str, Step], list[str]]:
    """SARDINE as it comes."""
    import_module("sardine")  # registers the ids
    env = import_module("gymnasium").make("sardine/SlateTopK-BoredInf-v0", disable_env_checker=True)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(DRAWN)]
    env.reset(seed=0)

    def step(n: int) -> int:
        _, _, terminated, truncated, _ = env.step(actions[n % DRAWN])
        if terminated or truncated:
            env.reset()
        return 1

    return {"SlateTopK-BoredInf": step}, ["sardine-rec", "gymnasium"]


def recsim() -> tuple[dict[str, Step], list[str]]:
    """RecSim's interest evolution, as many candidates and as long a slate as in recgym's.

    RecSim needs TensorFlow and Dopamine for its agents only: the form of gin that reads TensorFlow's types is replaced by
    gin, and the module that trains agents by an empty one. The environment itself is as it comes.
    """
    gin: Any = import_module("gin")
    sys.modules["gin.tf"] = gin.tf = gin
    sys.modules["recsim.simulator.runner_lib"] = ModuleType("runner_lib")
    module: Any = import_module("recsim.environments.interest_evolution")
    env = module.create_environment(dict(num_candidates=10, slate_size=3, resample_documents=True, seed=0))
    rng = np.random.default_rng(0)
    slates = [rng.permutation(10)[:3] for _ in range(DRAWN)]
    env.reset()

    def step(n: int) -> int:
        if env.step(slates[n % DRAWN])[2]:
            env.reset()
        return 1

    return {"interest_evolution": step}, ["recsim", "gym"]


def recogym() -> tuple[dict[str, Step], list[str]]:
    """RecoGym v1 with its own ten products; a step is an advertisement, and organic views are included in the time.

    The package imports TensorFlow, PyTorch and Jupyter for its agents and plots, which are left out.
    """
    spec = importlib.util.find_spec("recogym")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package, agents = ModuleType("recogym"), ModuleType("recogym.agents")
    package.__path__ = list(spec.submodule_search_locations)
    setattr(agents, "Agent", object)  # noqa: B010 - a name for an annotation
    sys.modules.update({"recogym": package, "recogym.agents": agents})
    envs: Any = import_module("recogym.envs")
    env = envs.RecoEnv1()
    env.init_gym({**envs.env_1_args, "random_seed": 0})
    env.reset_random_seed(1)
    actions = np.random.default_rng(0).integers(env.config.num_products, size=DRAWN).tolist()

    def start() -> None:
        done = True
        while done:  # one user in 26 leaves before the first advertisement
            env.reset()
            done = env.step(None)[2]

    def step(n: int) -> int:
        if env.step(actions[n % DRAWN])[2]:
            start()
        return 1

    start()
    return {"reco-gym-v1": step}, ["recogym", "gym", "numba"]


def recsim_ng() -> tuple[dict[str, Step], list[str]]:
    """RecSim NG's interest evolution of 1000 users, its own configuration, with random slates for its neural network's.

    It runs as in its demonstration, many steps as one TensorFlow graph, and a step at a time, as an agent needs it that
    decides outside the graph; both also compiled by XLA. Nothing is ever reset.

    Shims: `np.Inf` of NumPy 1; shapes of tensors as integers, which gym has asked for since the package appeared; and
    the Keras of its time.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    setattr(np, "Inf", np.inf)  # noqa: B010
    box: Any = import_module("gym").spaces.Box
    make = box.__init__

    def make_box(self: Any, low: Any, high: Any, shape: Any = None, *rest: Any, **named: Any) -> None:
        make(self, low, high, None if shape is None else tuple(map(int, shape)), *rest, **named)

    box.__init__ = make_box
    tf: Any = import_module("tensorflow")
    where = "recsim_ng.applications.recsys_partially_observable_rl"
    corpus, metrics, recommender, user = (
        import_module(f"{where}.{name}") for name in ("corpus", "metrics", "recommender", "user")
    )
    value, network, runtime, simulation = map(import_module, ("recsim_ng.core.value", "recsim_ng.core.network",
        "recsim_ng.lib.tensorflow.runtime", "recsim_ng.stories.recommendation_simulation"))  # fmt: skip
    users, docs, slate = 1000, 100, 2

    class RandomSlates(recommender.CollabFilteringRecommender):
        """Its recommender and the histories that it keeps, with uniform slates."""

        def slate_docs(self, previous_state: Any, user_obs: Any, available_docs: Any) -> Any:
            ranks = tf.random.uniform((users, slate), maxval=docs, dtype=tf.int32)
            return available_docs.map(lambda field: tf.gather(field, ranks)).union(value.Value(doc_ranks=ranks))

    def frozen(config: Any) -> Any:
        return corpus.StaticCorpus(config, corpus.CorpusWithTopicAndQuality(config).initial_state())

    config = dict(num_users=users, num_topics=2, num_docs=docs, slate_size=slate, history_length=15)
    story = simulation.recs_story(
        config, user.InterestEvolutionUser, frozen, RandomSlates, metrics.ConsumedTimeAsRewardMetrics
    )
    net = network.Network(variables=list(story))
    run = runtime.TFRuntime(net, graph_compile=False)  # the compilation is below, with and without XLA
    state = run._pack(net.initial_step())

    def whole(xla: bool) -> Step:
        call = tf.function(lambda: run._pack(run.execute(STEPS_A_CALL)), jit_compile=xla)

        def step(n: int) -> int:
            call()
            return STEPS_A_CALL * users

        return step

    def single(xla: bool) -> Step:
        call, now = tf.function(run._packed_step, jit_compile=xla, autograph=False), state

        def step(n: int) -> int:
            nonlocal now
            now = call(now)
            return users

        return step

    tasks = {
        "a step a call": single(False),
        "a step a call, XLA": single(True),
        "100 steps a call": whole(False),
        "100 steps a call, XLA": whole(True),
    }
    return tasks, ["recsim-ng", "tensorflow-cpu", "tensorflow-probability", "edward2"]


MAKERS = {"sardine": sardine, "recsim": recsim, "recogym": recogym, "recsim-ng": recsim_ng}


def measure(step: Step, seconds: float) -> tuple[int, float]:
    """User-steps done and the time they took, which is at least so many seconds."""
    steps, calls, began = 0, 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        steps += step(calls)
        calls += 1
    return steps, passed


def main() -> None:
    """Answer lines until there are no more."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(data: Any) -> None:
        out.write(json.dumps(data) + "\n")
        out.flush()

    tasks, packages = MAKERS[sys.argv[1]]()
    for step in tasks.values():
        for n in range(3):  # compiles, RecSim NG twice
            step(n)
        measure(step, 0.2)
    answer({"python": platform.python_version(), **{name: version(name) for name in (*packages, "numpy")}})
    for line in sys.stdin:
        task, seconds = json.loads(line)
        answer(measure(tasks[task], seconds))


if __name__ == "__main__":
    main()
