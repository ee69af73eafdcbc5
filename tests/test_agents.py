"""What all agents share: scored while they train, saved and read, and played by hand."""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
import threading
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from baselines import REGISTRY, Agent, Task, agent_class, evaluate, make_agent
from baselines.agent import MovingAverage
from baselines.policies import KINDS, POLICY_SEED, policy_digests, policy_file, provenance
from baselines.reference import candidate_feature
from baselines.rules import search
from benchmarks import audit, tune
from recgym import ENV_IDS
from recgym.errors import ConfigError
from recgym.files import arrays_as_bytes, parse_arrays

TABLES = ("q-learning", "sarsa", "ranked")
TASKS = {"item": Task("recgym/News-v0"), "slate": Task("recgym/EcommerceSlate-v0", {"slate_size": 2, "candidates": 8}),
         "embedding": Task("recgym/Ecommerce-v0", {"action": "embedding", "embeddings": True}), "table": Task("recgym/LongTermSatisfaction-v0")}  # fmt: skip
RULES = ("random", "popularity", "myopic", "planner", "heuristic", "one-step", "ranked", "varied")
LEARNERS = [name for name in REGISTRY if name not in RULES]
SMALL = {"dqn": {"learning_starts": 64}, "qrdqn": {"learning_starts": 64}, "ppo": {"n_steps": 4}, "maskable-ppo": {"n_steps": 4},
         "recurrent-ppo": {"n_steps": 4, "n_epochs": 1}, "sac": {"learning_starts": 64}, "td3": {"learning_starts": 64},
         "slateq": {"learning_starts": 64}, "full-slateq": {"learning_starts": 64}, "reinforce": {"segment": 2, "item_prior": 5.0},
         "linucb": {"item_prior": 5.0}, "best-known": {"envs": 16, "segment": 4, "batch_size": 32},
         "slate-ppo": {"envs": 16, "segment": 4, "batch_size": 32}}  # fmt: skip


def task_of(name: str) -> Task:
    kind = (
        "table"
        if name in TABLES
        else "embedding"
        if name in ("sac", "td3")
        else "slate"
        if "slateq" in name
        else "item"
    )
    return TASKS[kind]


def learned(agent: Agent, folder: Path) -> dict[str, bytes]:
    """All that a file of it holds but for its name."""
    agent.save(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".pt"} | {
        "weights": b"".join(_flat(getattr(agent, "weights", {})))
    }


def _flat(weights: dict[str, Any]) -> list[bytes]:
    return [
        part
        for value in weights.values()
        for part in (_flat(value) if isinstance(value, dict) else [value.numpy().tobytes()])
    ]


@pytest.mark.parametrize("name", LEARNERS)
def test_a_score_in_mid_training_changes_nothing(name: str, tmp_path: Path) -> None:
    task, scores = task_of(name), []

    def fitted(progress: Any) -> Agent:
        agent = make_agent(name, **SMALL.get(name, {}))
        agent.fit(task, 320, seed=3, progress=progress)
        return agent

    agent = make_agent(name, **SMALL.get(name, {}))

    def look(steps: int, values: dict[str, float]) -> None:
        if steps % 128 == 0:
            agent.save(tmp_path / "meanwhile")
            scores.append(evaluate(agent.snapshot(), task, 8, seed=9).returns)

    agent.fit(task, 320, seed=3, progress=look)
    assert len(scores) >= 2
    plain, looked = learned(fitted(None), tmp_path / "plain"), learned(agent, tmp_path / "looked")
    plain = {
        name: content for name, content in plain.items() if name != "agent.json"
    }  # it has the digest of the weights
    assert plain == {name: content for name, content in looked.items() if name != "agent.json"}
    # The snapshot acts as the agent does, and goes its own way.
    snapshot = agent.snapshot()
    assert np.array_equal(evaluate(snapshot, task, 8, seed=9).returns, evaluate(agent, task, 8, seed=9).returns)
    snapshot.fit(task, 128, seed=5)
    again = {name: content for name, content in learned(agent, tmp_path / "again").items() if name != "agent.json"}
    assert again == plain


@dataclass
class Bare(Agent):
    """Somebody's, who has written `act` and no more."""

    def act(self, observation: Any, mask: Any, explore: bool = False) -> Any:
        self.seen = getattr(self, "seen", 0) + len(mask)
        return mask.argmax(axis=1)


def test_an_agent_that_only_acts_has_snapshots() -> None:
    agent = Bare()
    assert evaluate(agent.snapshot(), TASKS["item"], 3).lengths.min() > 0
    assert not vars(agent)
    evaluate(agent, TASKS["item"], 3)
    env, seen = agent.env, agent.seen
    evaluate(agent.snapshot(), TASKS["item"], 3)
    assert (agent.env, agent.seen) == (env, seen)
    agent.lock = threading.Lock()  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"agent: must hold what can be copied.*Bare"):
        agent.snapshot()


@pytest.mark.parametrize("name", ["linucb", "slateq", "reinforce"])
def test_the_agent_in_training_itself_cannot_be_scored(name: str) -> None:
    agent, task = make_agent(name, **SMALL.get(name, {})), task_of(name)
    with pytest.raises(ConfigError, match=r"progress: must start a snapshot\(\)"):
        agent.fit(task, 320, progress=lambda steps, values: evaluate(agent, task, 2) and None)


HOSTILE = [None, True, 0, 1, -1, 2**63, 10**400, 1e308, np.nan, np.inf, "64", "", b"x", [], [1], {}, {"click": "1"}, {1: 2}, {"click": np.nan},
           {"click": np.float32(1)}, (), ("user", 3), set(), object(), np.float32(0.5), np.float16(0.5), np.int8(3), np.uint64(2**63),
           np.bool_(True), np.array(3), np.array([1, 2]), np.longdouble(0.5), Fraction(1, 3), Decimal("0.5"), 1j, len, int, "\ud800",
           "a" * 10_000, range(3), "cuda:99999999999999999999999", "cuda:\u0661"]  # fmt: skip


@pytest.mark.parametrize("name", REGISTRY)
def test_hyper_parameters_are_plain_or_refused(name: str) -> None:
    """NaN was taken for a preference, and what NumPy or others call a number was kept as it is, and not in JSON."""
    for field in dataclasses.fields(agent_class(name)):  # type: ignore[arg-type]
        for value in HOSTILE if field.init else ():
            try:
                agent: Any = make_agent(name, **{field.name: value})
            except ConfigError:
                continue
            kept = getattr(agent, field.name)
            assert type(kept) in (type(None), bool, int, float, str, tuple, dict), (field.name, value)
            json.dumps(kept, allow_nan=False)


def test_the_average_is_unbiased_from_the_start() -> None:
    average = MovingAverage()
    assert [average(0.25) for _ in range(5)] == pytest.approx([0.25] * 5)
    assert 0.25 < average(1.0) < 0.5


@pytest.mark.parametrize("name", ["random", "linucb", "dqn", "slateq"])
def test_observations_and_envs_of_a_single_user_are_refused_in_words(name: str) -> None:
    agent, task = make_agent(name), task_of(name)
    with pytest.raises(ConfigError, match=r"gymnasium\.make_vec .*Env"):
        agent.start(gym.make(task.id, **task.options).unwrapped)  # type: ignore[arg-type]
    env = task.make(2)
    observation, info = env.reset(seed=0)
    agent.start(env)
    if name != "random":
        with pytest.raises(ConfigError, match=r"observation\[None\]"):
            agent.act(observation[0], info["action_mask"][0])


@dataclass
class Reader(Agent):
    """Reads dicts: shows the candidate that matches the profile best."""

    def act(self, observation: Any, mask: Any, explore: bool = False) -> Any:
        match = (observation["candidates"][:, :, :16] * observation["user"][:, None, :16]).sum(axis=2)
        return np.where(mask, match, -np.inf).argmax(axis=1)


def test_evaluate_takes_dicts_vectors_and_ids() -> None:
    random = make_agent("random")
    assert np.array_equal(
        evaluate(random, "recgym/News-v0", 30).returns, evaluate(random, Task("recgym/News-v0"), 30).returns
    )
    score = evaluate(Reader(), Task("recgym/News-v0", {"observation": "dict", "embeddings": True}), 200)
    assert score.returns.mean() > evaluate(random, "recgym/News-v0", 200).returns.mean()
    score = evaluate(random, Task("recgym/News-v0", {"reward": "vector"}), 30)
    assert score.returns == pytest.approx(score.objectives, rel=1e-5)
    with pytest.raises(ConfigError, match="needs a flat one"):
        evaluate(make_agent("linucb"), Task("recgym/News-v0", {"observation": "dict"}), 5)
    with pytest.raises(ConfigError, match="batch"):
        evaluate(random, "recgym/News-v0", 5, batch=0)


def test_agents_are_paid_by_a_reward_of_ones_own() -> None:
    def double(feedback: Any, catalog: Any, users: Any) -> Any:
        return 2.0 * feedback.click.sum(axis=1)

    task, plain = (
        Task("recgym/NewsSlate-v0", {"slate_size": 2, "reward": reward}) for reward in (double, {"click": 2.0})
    )
    for name in ("random", "linucb"):
        agents = [make_agent(name) for _ in range(2)]
        for agent, where in zip(agents, (task, plain), strict=True):
            agent.fit(where, 320)
        assert np.array_equal(*[evaluate(agents[i], (task, plain)[i], 30, seed=10**6).returns for i in range(2)])
    prefers = make_agent("linucb", objective_weights={"click": 1.0})
    assert prefers.training(task).options["reward"] == {"click": 1.0}
    with pytest.raises(ConfigError, match="weighted sum"):
        evaluate(make_agent("myopic"), task, 5)


def saved(folder: Path, name: str = "linucb", **options: Any) -> type[Agent]:
    agent = make_agent(name, **options)
    agent.fit(task_of(name), 64)
    agent.save(folder)
    return agent_class(name)


def rewritten(folder: Path, **changes: Any) -> None:
    """agent.json with other hyper-parameters."""
    file = folder / "agent.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(("content", "says"), [
    (b"", "JSON"), (b"{", "JSON"), (b"[]", "LinUCB"), (b"\xff", "JSON"), (b'{"agent": "DQN"}', "LinUCB"), (b"[" * 5000, "levels"),
    (b'{"agent": "LinUCB", "alpha": NaN}', "NaN"), (b'{"agent": "LinUCB", "alpha": 1, "alpha": 2}', "twice"),
    (b'{"agent": "LinUCB", "alpha": 1' + b"0" * 5000 + b"}", "JSON"), (b'{"agent": "\\ud800"}', "JSON"),
    (b'{"agent": "LinUCB", "newer": 1}', "newer"), (b'{"agent": "LinUCB", "envs": "64"}', "envs"),
    (b'{"agent": "LinUCB", "files": 3}', "digests"),
])  # fmt: skip
def test_agent_json_that_is_none(content: bytes, says: str, tmp_path: Path) -> None:
    kind = saved(tmp_path)
    (tmp_path / "agent.json").write_bytes(content)
    with pytest.raises(ConfigError, match=says) as error:
        kind.load(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_arrays_that_are_none(tmp_path: Path) -> None:
    kind, file = saved(tmp_path, item_prior=5.0), tmp_path / "bandit.npz"
    rewritten(tmp_path, files={})
    good = parse_arrays(file.read_bytes(), "", "")
    with np.errstate(all="ignore"):
        wrong = [{"gram": good["gram"][:3]}, {"theta": good["theta"][None]}, {"theta": good["theta"].astype(np.float32)},
                 {"gram": -good["gram"]}, {"theta": good["theta"] * np.nan}, {"gram": good["gram"].astype(str)}]  # fmt: skip
    contents = [file.read_bytes()[:99], b"", b"PK", *(arrays_as_bytes({**good, **arrays}) for arrays in wrong),
                arrays_as_bytes({"gram": good["gram"]}), arrays_as_bytes({**good, "more": good["theta"]})]  # fmt: skip
    for content in contents:
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=r"bandit\.npz"):
            kind.load(tmp_path)
    file.write_bytes(arrays_as_bytes(good))
    kind.load(tmp_path)
    counts = parse_arrays((tmp_path / "items.npz").read_bytes(), "", "")
    for more in ({"shown": -counts["shown"] - 1}, {"keys": counts["keys"][::-1]}, {"feedback": counts["shown"]}):
        (tmp_path / "items.npz").write_bytes(arrays_as_bytes({**counts, **more}))
        with pytest.raises(ConfigError, match=r"items\.npz"):
            kind.load(tmp_path)


def test_weights_that_are_none(tmp_path: Path) -> None:
    kind, file = saved(tmp_path, "dqn"), tmp_path / "dqn.pt"
    rewritten(tmp_path, files={})
    good = kind.load(tmp_path).weights  # type: ignore[attr-defined]
    first = next(iter(good))
    weights = [[1], {"x": 1}, {1: good[first]}, {**good, first: good[first] * torch.nan}, {**good, first: good[first].to(torch.complex64)},
               {**good, first: good[first].to_sparse()}]  # fmt: skip
    for wrong in weights:
        torch.save(wrong, file)
        with pytest.raises(ConfigError, match=r"dqn\.pt"):
            kind.load(tmp_path)
    for content in (b"", b"PK\x03\x04", file.read_bytes()[:500]):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=r"dqn\.pt"):
            kind.load(tmp_path)
    torch.save({first: good[first]}, file)  # of another network, which only an env can tell
    agent = kind.load(tmp_path)
    with pytest.raises(ConfigError, match="learned from"):
        agent.start(task_of("dqn").make(2))


def test_a_reader_never_gets_files_of_two_agents(tmp_path: Path) -> None:
    agents = [make_agent("linucb", alpha=float(i + 1)) for i in range(2)]
    for i, agent in enumerate(agents):
        agent.fit(TASKS["item"], 64 * (i + 1))
    known = {agent.alpha: agent.theta.tobytes() for agent in agents}  # type: ignore[attr-defined]
    agents[0].save(tmp_path)
    stop, failed = threading.Event(), []

    def write() -> None:
        while not stop.is_set():
            for agent in agents:
                agent.save(tmp_path)
                stop.wait(0.002)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(60):
            read: Any = type(agents[0]).load(tmp_path)
            if known[read.alpha] != read.theta.tobytes():
                failed.append(read.alpha)
    finally:
        stop.set()
        writer.join()
    assert not failed
    (tmp_path / "bandit.npz").write_bytes(arrays_as_bytes({"gram": np.eye(2), "theta": np.zeros(2)}))
    with pytest.raises(ConfigError, match="files of one agent"):
        type(agents[0]).load(tmp_path)


def test_an_array_of_ones_own_is_saved_as_the_docstring_says(tmp_path: Path) -> None:
    """The methods of `Agent`'s docstring, in agents of somebody's own: one that has no files else, one that has."""
    code = re.search(r"\n( +def contents\(self\):.*?)\n *\Z", Agent.__doc__ or "", re.S)
    assert code
    assert not re.search(r"[. ]_[a-z]", code[1]), "no private name"
    source = "@dataclass\nclass Mine(base):\n" + textwrap.indent(textwrap.dedent(code[1]), "    ")
    for base in (Bare, agent_class("linucb")):
        names: dict[str, Any] = {
            "arrays_as_bytes": arrays_as_bytes,
            "parse_arrays": parse_arrays,
            "dataclass": dataclass,
            "base": base,
        }
        exec(compile(source, "docstring", "exec"), names)
        kind: Any = names["Mine"]
        agent = kind()
        agent.fit(TASKS["item"], 64)
        agent.clicks = np.arange(5)
        agent.save(tmp_path / base.__name__)
        loaded = kind.load(tmp_path / base.__name__)
        assert loaded.clicks.tolist() == [0, 1, 2, 3, 4]
        assert np.array_equal(evaluate(agent, TASKS["item"], 8).returns, evaluate(loaded, TASKS["item"], 8).returns)
        (tmp_path / base.__name__ / "clicks.npz").write_bytes(arrays_as_bytes({"clicks": np.arange(6)}))
        with pytest.raises(ConfigError, match="files of one agent"):
            kind.load(tmp_path / base.__name__)


def test_numbers_of_numpy_are_saved_as_numbers(tmp_path: Path) -> None:
    make_agent("linucb", alpha=np.float32(0.5), envs=np.int64(8)).save(tmp_path)
    assert agent_class("linucb").load(tmp_path).alpha == 0.5  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "name",
    [
        ":",
        ":a",
        ".:x",
        "..a:x",
        "a b:X",
        "a\0.py:X",
        "a" * 300 + ".py:X",
        "module:",
        "no_such.py:X",
        "lin ucb",
        "",
        None,
        5,
    ],
)
def test_names_of_no_agent(name: Any) -> None:
    """Some raised what importing them raised."""
    with pytest.raises(ConfigError, match=r"^agent: "):
        make_agent(name)


# Yardsticks


@pytest.mark.parametrize("id", ENV_IDS)
@pytest.mark.parametrize("kind", KINDS)
def test_committed_policies_play_their_environment(id: str, kind: str) -> None:
    assert policy_file(id, kind).stat().st_size < 20_000
    origin = provenance(id, kind)
    assert origin["id"] == id
    assert origin["curve"]
    digests = policy_digests([id], kind)
    first, again = (evaluate(make_agent(kind, **more), id, 20, seed=10**9) for more in ({}, {"digests": digests}))
    assert np.array_equal(first.returns, again.returns)


@pytest.mark.parametrize("kind", KINDS)
def test_policies_of_others_are_refused(kind: str) -> None:
    id = "recgym/News-v0"
    digests = policy_digests([id], kind)
    with pytest.raises(ConfigError, match=f"{kind} digests: must be '{digests[id]}' for {id}, as its file is"):
        evaluate(make_agent(kind, digests={id: "0" * 16}), id, 2)
    with pytest.raises(ConfigError, match=f"{kind} digests: must have the environment, got '{id}'"):
        evaluate(make_agent(kind, digests={"recgym/Other-v0": "0" * 16}), id, 2)
    with pytest.raises(ConfigError, match=f"{kind} policy: must be of an environment among .*'News-v0'.*RecoGym-v1"):
        evaluate(make_agent(kind), "recgym/RecoGym-v1", 2)


def test_policies_are_made_for_users_of_their_own() -> None:
    assert POLICY_SEED > tune.TUNING_USER_SEED + 10**6
    seeds = (POLICY_SEED + 10**9, audit.CURVE_SEED, audit.TRAINING_SEED)
    assert all(POLICY_SEED <= seed <= POLICY_SEED + 10**9 for seed in seeds)
    assert audit.TRAINING_SEED + 10**6 < audit.CURVE_SEED


def test_a_heuristic_weighs_what_everyone_sees() -> None:
    env = Task("recgym/LiveStreamSlate-v0").make(64)
    observation, info = env.reset(seed=1)
    heat = candidate_feature(env, observation, "heat")

    def acts(**settings: Any) -> Any:
        agent = make_agent("heuristic", **settings)
        agent.start(env)
        return agent.act(observation, info["action_mask"])

    order = np.argsort(-np.where(info["action_mask"][:, 1:], heat, -np.inf), axis=1, kind="stable")[:, :5] + 1
    assert np.array_equal(acts(weights={"heat": 1.0}, quiet={"always": -9.0}), order)
    assert not acts(weights={"heat": 1.0}, quiet={"always": 9.0}).any()
    some = acts(weights={"heat": 1.0}, quiet={"always": 0.5})
    above = np.take_along_axis(heat, order - 1, axis=1) > np.float32(0.5)
    assert np.array_equal(some, np.where(above, order, 0))
    assert 0 < (some == 0).sum() < some.size
    with pytest.raises(ConfigError, match=r"Heuristic.weights: got 'heet'. Did you mean 'heat'"):
        acts(weights={"heet": 1.0})
    with pytest.raises(ConfigError, match=r"Heuristic.quiet: got 'alway'. Did you mean 'always'"):
        acts(weights={"heat": 1.0}, quiet={"alway": 1.0})


def test_one_step_at_the_weights_of_the_reward_is_the_myopic_oracle() -> None:
    env = Task("recgym/NewsSlate-v0").make(2)
    paid = dict(zip(env.world.objectives, env.weights[0].tolist(), strict=True))
    agents = [make_agent("one-step", weights=paid), make_agent("myopic")]
    assert np.array_equal(*(evaluate(agent, "recgym/NewsSlate-v0", 20, seed=5).returns for agent in agents))
    with pytest.raises(ConfigError, match=r"OneStep.weights: got 'clik'. Did you mean 'click'"):
        evaluate(make_agent("one-step", weights={"clik": 1.0}), "recgym/News-v0", 2)


@pytest.mark.parametrize("kind", ["heuristic", "one-step"])
def test_a_search_finds_weights_and_is_repeated_exactly(kind: str) -> None:
    task = Task("recgym/News-v0", {"horizon": 15})
    found, again = (search(task, kind, generations=3, tried=10, users=40) for _ in range(2))
    assert found == again
    assert len(found.curve) == 3
    random = evaluate(make_agent("random"), task, 300, seed=10**9).returns.mean()
    assert evaluate(found.agent, task, 300, seed=10**9).returns.mean() > 1.3 * random
    with pytest.raises(ConfigError, match="tried: must be an integer"):
        search(task, kind, tried=2)


def test_the_latent_policy_learns_and_is_read_back(tmp_path: Path) -> None:
    task = Task("recgym/LiveStreamSlate-v0", {"horizon": 30})
    settings = {"envs": 128, "segment": 25, "batch_size": 800}
    agent, again = (make_agent("best-known", **settings) for _ in range(2))
    agent.fit(task, 32_000, seed=3)
    again.fit(task, 32_000, seed=3)
    score = evaluate(agent, task, 300, seed=10**9).returns
    assert np.array_equal(evaluate(again, task, 300, seed=10**9).returns, score)
    assert score.mean() > 1.5 * evaluate(make_agent("random"), task, 300, seed=10**9).returns.mean()
    agent.save(tmp_path)
    read = agent_class("best-known").load(tmp_path)
    assert np.array_equal(evaluate(read, task, 300, seed=10**9).returns, score)
    with pytest.raises(ConfigError, match="policy: must be of a world with as many numbers of a choice"):
        evaluate(agent, "recgym/News-v0", 2)
    make_agent("best-known").save(tmp_path / "untrained")
    untrained = agent_class("best-known").load(tmp_path / "untrained")
    assert evaluate(untrained, "recgym/News-v0", 5).lengths.min() > 0
