"""The harness that measures speed: windows, bytes, other packages, tables and the picture. No speed is asserted."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

import benchmarks.__main__ as cli
from benchmarks import throughput
from benchmarks.run import software
from benchmarks.throughput import Plan, Run, Speed, Spread, Versus, measure, peers, tables
from recgym.envs import RecVectorEnv
from recgym.errors import ConfigError

ID = "recgym/News-v0"
ANSWERS = "import json, sys\nprint(json.dumps({'it': '1.2'}), flush=True)\nfor line in sys.stdin:\n    "
WORKERS = {  # what a peer's process does -> the reason that its row gives
    ANSWERS + "task, s = json.loads(line)\n    print([{'jump': 50, 'run': 100}[task], s], flush=True)": "",
    "print('chatter'); raise ImportError('no module named it')": "not run: does not run: ImportError: no module named it",
    "raise SystemExit": "not run: does not run: no reason given",
    ANSWERS + "raise MemoryError('of it')": "not run: does not run: MemoryError: of it",
    "import time; time.sleep(60)": "not run: does not run: no answer within 2 s",
}


@pytest.fixture
def peer(monkeypatch):
    """A peer `it`, of two tasks, that no machine has to install."""
    it = peers.Peer(("jump", "run"), ID, {}, (0, 3), "it==1.2", "Nothing differs.")
    monkeypatch.setitem(peers.PEERS, "it", it)
    monkeypatch.setattr(throughput, "python_of", lambda name, folder, progress: sys.executable)
    monkeypatch.setattr(peers, "START_SECONDS", 2)
    return it


def plan(**options) -> Plan:
    return Plan(**{"ids": [ID], "users": [3], "windows": 2, "seconds": 0.02, **options})


# What is measured


def test_throughput_measures_each_window_beside_cartpole():
    said, there = [], []
    run = throughput.throughput(plan(), said.append, lambda run, ended: there.append((len(run.speeds), ended)))
    assert [(s.id, s.users, s.items) for s in run.speeds] == [(ID, 0, None), (ID, 3, None)]
    assert there == [(2, f"1/1 {ID}")]
    assert said[-1] == f"1/1 {ID}: round 2 of 2"
    for s in run.speeds:
        assert len(s.windows) == len(s.floor) == 2
        assert s.median == np.median(s.windows) > 0
        assert s.ratio.median == pytest.approx(np.mean(np.divide(s.windows, s.floor)))
    assert run.speeds[0].bytes is None
    assert run.speeds[1].bytes == measure.traffic(RecVectorEnv("news", 2))
    assert len(run.speeds[1].memory) == len(run.speeds[1].cache) == 2


def test_the_windows_take_turns():
    turns = []

    def count(name):
        return lambda seconds: turns.append((name, seconds)) or float(len(turns))

    found = measure.rounds({"a": (count("a"), 0.5), "b": (count("b"), 0.1)}, 2)
    assert turns == [("a", 0.2), ("b", 0.1), ("a", 0.5), ("b", 0.1), ("a", 0.5), ("b", 0.1)]
    assert found == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_a_batch_counts_no_step_in_which_a_user_is_reset(monkeypatch):
    class Envs:
        """Episodes of one step: every second call resets all users."""

        action_space = gym.spaces.MultiDiscrete([2, 2])
        calls = 0

        def reset(self, seed):
            pass

        def step(self, action):
            self.calls += 1
            ended = np.full(2, self.calls % 2 == 1)
            return None, None, ended, np.zeros(2, bool), {}

    envs, clock = Envs(), iter(np.arange(0.0, 100.0))
    monkeypatch.setattr(measure.time, "perf_counter", lambda: float(next(clock)))
    rate = measure.stepping(envs, 2)(8.5)
    assert envs.calls == 8
    assert rate == 8 / 9.0


def test_the_bytes_of_a_step_are_the_state_read_what_changes_and_what_comes_out():
    envs = RecVectorEnv("ecommerce", 2, slate_size=5)
    observation, info = envs.reset(seed=0)
    rows = {name: measure.row_bytes(array) for name, array in envs.get_state().users.__dict__.items()}
    fixed = {"key", "episode", "profile", "known", "sensitivity"}
    assert fixed < set(rows)
    written = sum(size for name, size in rows.items() if name not in fixed)
    outcome = sum(measure.row_bytes(info[name]) for name in (*throughput_info(), "action_mask"))
    step = envs.action_space.sample()[0].nbytes + observation[0].nbytes + 8 + 1 + 1
    assert measure.traffic(envs) == sum(rows.values()) + written + outcome + step


def throughput_info() -> tuple[str, ...]:
    return "objectives", "slate", "click", "probability"


def test_a_row_that_all_users_share_has_no_bytes():
    assert measure.row_bytes(np.zeros((5, 3), np.float32)) == 12
    assert measure.row_bytes(np.broadcast_to(np.zeros(3, np.float32), (5, 3))) == 0
    assert [leaf.shape for leaf in measure.leaves({"a": np.zeros(3), "b": (np.zeros(1), np.zeros(2))})] == [
        (3,),
        (1,),
        (2,),
    ]


@pytest.mark.parametrize("threads", [1, 2])
def test_copies_count_the_bytes_read_and_written(monkeypatch, threads):
    copied = []
    monkeypatch.setattr(measure.np, "copyto", lambda target, source: copied.append(2 * source.nbytes))
    monkeypatch.setattr(measure.time, "perf_counter", iter([0.0, 0.0, 2.0] * threads).__next__)
    monkeypatch.setattr(measure.threading.Thread, "start", lambda self: self.run())
    monkeypatch.setattr(measure.threading.Thread, "join", lambda self: None)
    assert measure.copying(2**24, threads)(1.0) == sum(copied) / 2.0
    assert set(copied) == {2**24 // threads}


def test_items_are_those_of_the_catalogue(monkeypatch):
    monkeypatch.setattr(throughput, "ITEM_IDS", throughput.ITEM_IDS[:1])  # each is another step to compile
    run = throughput.throughput(plan(ids=["recgym/News-v0"], users=[], items=[200], windows=1))
    assert [(s.id, s.users, s.items) for s in run.speeds[1:]] == [(id, 1024, 200) for id in throughput.ITEM_IDS]
    assert "1024 users, by number of items" in [section.title for section in tables.sections(run)]


def test_profile_names_functions():
    assert "envs.py" in measure.profile(ID, lines=100, seconds=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ids": ["recgym/Nws-v0"]}, "ids: must be registered environments"),
        ({"ids": [ID, ID]}, "ids: must be different"),
        ({"windows": 0}, "windows: must be an integer in"),
        ({"seconds": 0.0}, "seconds: must be a number in"),
    ],
)
def test_a_wrong_plan(options, message):
    with pytest.raises(ConfigError, match=message):
        plan(**options)


# Other packages


@pytest.mark.parametrize("code", WORKERS)
def test_a_peer_is_measured_or_its_rows_say_why_not(monkeypatch, tmp_path, peer, code):
    (tmp_path / "worker.py").write_text(code)
    monkeypatch.setattr(peers, "WORKER", tmp_path / "worker.py")
    run = throughput.throughput(plan(ids=[], against=["it"]))
    assert [(v.peer, v.task, v.id, v.users) for v in run.peers] == [
        ("it", t, ID, n) for t in peer.tasks for n in (0, 3)
    ]
    reason = WORKERS[code]
    for v in run.peers:
        assert v.reason == reason
        if reason:
            assert v.ratio is None
        else:
            rate = {"jump": 50, "run": 100}[v.task] / 0.02
            assert v.theirs == [rate, rate]
            assert v.versions == {"it": "1.2"}
            assert v.ratio is not None
            assert v.ratio.high == max(v.ours) / rate
    about = {"command": "x", "date": "2030-01-01", "processors": 2, "software": software()}
    shown = tables.markdown(run, about, "z.png")
    assert (reason or "it 1.2") in shown
    assert json.loads(json.dumps(run.to_dict()))["peers"][0]["differs"] == "Nothing differs."


def test_a_peer_that_cannot_be_installed(monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setitem(peers.PEERS, "it", peers.Peer(("run",), ID, {}, (0,), "recgym-no-such-package==1", ""))
    made = []
    monkeypatch.setattr(peers.venv, "create", lambda place, **options: made.append(place))
    with pytest.raises(peers.NotRun, match=r"cannot be installed: .*No such file"):
        peers.python_of("it", tmp_path, print)
    (tmp_path / "it" / "bin").mkdir(parents=True)
    (tmp_path / "it" / "bin" / "python").symlink_to(sys.executable)
    with pytest.raises(peers.NotRun, match="cannot be installed: ERROR: No matching distribution"):
        peers.python_of("it", tmp_path, print)
    assert made == [tmp_path / "it"] * 2
    (tmp_path / "it" / "requirements.json").write_text('["recgym-no-such-package==1"]')
    assert peers.python_of("it", tmp_path, print) == tmp_path / "it" / "bin" / "python"
    assert len(made) == 2


def test_a_worker_keeps_its_output_for_answers(tmp_path):
    """The protocol of worker.py, with a package that prints."""
    code = (
        "from benchmarks.throughput import worker\n"
        "def make():\n    print('chatter')\n    return {'walk': lambda n: 7}, ['numpy']\n"
        "worker.MAKERS['it'] = make\nworker.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, "it"], input='["walk", 0.01]\n', capture_output=True, text=True)
    versions, (steps, seconds) = map(json.loads, done.stdout.splitlines())
    assert versions["numpy"] == np.__version__
    assert steps % 7 == 0 < steps
    assert seconds >= 0.01
    assert done.stderr == "chatter\n"


def test_every_peer_has_a_worker_and_a_counterpart():
    from benchmarks.throughput import worker

    assert peers.PEERS.keys() == worker.MAKERS.keys()
    for name, it in peers.PEERS.items():
        assert f"{name.replace('sardine', 'sardine-rec')}==" in it.requirements
        assert all(word.count("==") == 1 for word in it.requirements.split())
        gym.make(it.id, **it.options).close()


# How it is shown


def made_up() -> Run:
    """Two ids, three sizes of batches, two of catalogues, a peer."""
    run = Run()
    for number, id in enumerate(("recgym/News-v0", "recgym/Ecommerce-v0", "CartPole-v1")):
        for users in (0, 64, 1024):
            rate = 1e4 * (number + 1) * (users or 1) ** 0.5
            run.speeds.append(Speed(id, users, None, [rate, 2 * rate, 3 * rate], [1e5] * 3, 500 if users else None,
                                    [1e10] * 3 if users else [], [2e10] * 3 if users else []))  # fmt: skip
    run.speeds += [Speed("recgym/News-v0", 1024, items, [1e6] * 3, [1e5] * 3) for items in (1000, 10_000)]
    run.peers.append(Versus("recsim", "interest_evolution", ID, 0, theirs=[1.0, 2.0, 4.0], ours=[10.0, 40.0, 40.0]))
    return run


def test_tables_have_medians_and_ranges():
    batches, items, others = tables.sections(made_up())
    assert batches.rows[1] == ("News-v0", "64", "160,000", "1.60 [0.80, 2.40]", "500", "0.8%", "0.4%")
    assert batches.rows[0][1:] == ("single", "20,000", "0.20 [0.10, 0.30]", "–", "–", "–")
    assert items.rows[1][1:3] == ("10,000", "1,000,000")
    assert others.rows == [("recsim: interest_evolution", "single", "2", "40", "10.0 [10.0, 20.0]")]
    assert str(Spread(123.4, 99.5, 1234.0)) == "123 [100, 1,234]"


def test_the_picture_has_a_panel_for_users_and_one_for_items(tmp_path):
    run = made_up()
    assert [(title, sorted(lines)) for title, _, lines in tables.pictured(run)] == [
        ("Cost against users", ["CartPole-v1", "recgym/Ecommerce-v0", "recgym/News-v0"]),
        ("Cost against items, 1024 users", ["recgym/News-v0"]),
    ]
    (tmp_path / "picture.png").write_bytes(tables.picture(run))
    assert imread(tmp_path / "picture.png")[..., :3].std() > 0.01
    assert not tables.pictured(Run(run.speeds[:2]))  # a point is no line


def test_command_line(monkeypatch, tmp_path):
    console = Console(file=io.StringIO(), width=120)
    monkeypatch.setattr(cli, "console", console)
    speeds = tmp_path / "speeds.json"
    words = ["throughput", "--ids", ID, "recgym/Ecommerce-v0", "--users", "3", "5", "--seconds", "0.01", "--windows", "2",
             "-o", str(speeds)]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["benchmarks", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    written = json.loads(speeds.read_text())
    rows = [(s["id"], s["users"]) for s in written["speeds"]]
    assert rows == [(id, users) for id in (ID, "recgym/Ecommerce-v0") for users in (0, 3, 5)]
    assert {"command", "date", "software", "processors"} < written.keys()
    assert written["software"]["processor"] in (tmp_path / "speeds.md").read_text()
    assert "![Cost of a user-step](speeds.png)" in (tmp_path / "speeds.md").read_text()
    assert Path(tmp_path / "speeds.png").stat().st_size > 5000
    assert "Ecommerce-v0" in console.file.getvalue()
