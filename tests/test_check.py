"""submit-check: an honest folder passes, and each way of tampering with it is found."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("matplotlib")

from rich.console import Console

from baselines.agent import OnlineAgent, Task
from benchmarks import __main__ as cli
from benchmarks import check, files, report, run, suite
from benchmarks.result import Length, Result, Returns
from benchmarks.suite import Contender, NamedTask, Suite
from recgym.errors import ConfigError

SHOP = Task("recgym/Ecommerce-v0", {"horizon": 5})


@dataclasses.dataclass
class Place(OnlineAgent):
    """Shows the candidate of a fixed place; learns nothing."""

    place: int = 0

    def learn(self, *transition) -> None:
        pass

    def act(self, observation, mask, explore=False):
        return mask.argmax(axis=1) + self.place


PLACE = f"{__name__}:{Place.__name__}"
TINY = Suite(
    "tiny-v0",
    (NamedTask("shop", SHOP, 192),),
    (
        Contender("third", PLACE, {"place": 2}),
        *(Contender(name, name, trained=False) for name in ("popularity", "random")),
    ),
    (0, suite.SEED_STRIDE),
    users=50,
    references={"shop": {"random": (0.3, 0.1), "planner": (2.0, 0.2)}},
)


@pytest.fixture(autouse=True)
def _published(monkeypatch):
    monkeypatch.setitem(suite.SUITES, TINY.name, TINY)


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> dict[str, bytes]:
    """Files of an honest folder by their path in it."""
    folder = tmp_path_factory.mktemp("honest")
    run.run_suite(TINY, folder, console=Console(file=io.StringIO()))
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(honest, tmp_path) -> Path:
    for name, data in honest.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


def checked(folder: Path, **arguments) -> list[check.Verdict]:
    return check.submit_check(folder, trust=[PLACE], **arguments)


def failed(folder: Path, **arguments) -> dict[str, str]:
    """What a check finds wrong: what -> why."""
    return {v.what: v.why for v in checked(folder, **arguments) if v.ok is False}


def entry_of(label: str, k: int = 0) -> suite.Entry:
    return [entry for entry in TINY.entries() if entry.label == label][k]


def change(folder: Path, label: str, edit: Callable[[dict], None], k: int = 0) -> None:
    """Tamper with a result."""
    path = run.result_file(folder, entry_of(label, k).job.key)
    data = json.loads(path.read_bytes())
    edit(data)
    path.write_text(json.dumps(data))


def change_manifest(folder: Path, edit: Callable[[dict], None]) -> None:
    data = json.loads((folder / "suite.json").read_bytes())
    edit(data)
    (folder / "suite.json").write_text(json.dumps(data))


def test_an_honest_folder_passes(folder):
    said = []
    verdicts = checked(folder, sample=99, progress=said.append)
    assert [v.ok for v in verdicts] == [True] * 10
    assert [v.what for v in verdicts[:6]] == ["manifest", "suite", "complete", "files", "numbers", "software"]
    assert all("equal to the bit" in v.why for v in verdicts[6:])
    assert sum("running again" in text for text in said) == 4
    assert "tiny-v0, sha256 " + suite.digest(TINY.manifest())[:16] in verdicts[1].why


def test_the_sample_is_the_reviewers_choice(folder):
    def drawn(**arguments) -> list[str]:
        return [v.what for v in checked(folder, **arguments) if v.what.startswith("again")]

    mine = ["again: shop, third, seed 0", "again: shop, third, seed 10000"]
    assert drawn(sample=1, seed=1) == drawn(sample=1, seed=1)
    assert {what for seed in range(6) for what in drawn(sample=1, seed=seed)} == {*mine}
    assert drawn(sample=2) == mine, "what is contributed comes before references"
    assert drawn(sample=99, max_steps=10) == ["again: shop, popularity", "again: shop, random"]
    assert checked(folder, sample=0)[-1] == check.Verdict("re-runs", None, "none asked for")


def test_rows_that_were_not_run_are_no_fault_but_half_a_row_is(folder):
    keys = [entry_of("third", k).job.key for k in (0, 1)]
    run.result_file(folder, keys[0]).unlink()
    assert failed(folder, sample=0) == {"complete": "third: 1 of 2 jobs have no result"}
    run.result_file(folder, keys[1]).unlink()
    verdict = checked(folder, sample=0)[2]
    assert verdict == check.Verdict("complete", True, "2 of 3 rows; not run: third")
    for path in (folder / "jobs").iterdir():
        path.unlink()
    assert failed(folder) == {"complete": "there is no result at all"}


def set_to(*path: str, value) -> Callable[[dict], None]:
    def edit(data: dict) -> None:
        for name in path[:-1]:
            data = data[name]
        data[path[-1]] = value

    return edit


def end_curve(data: dict) -> None:
    """The learning curve ends where the evaluation does, of all users here."""
    for point in data["curve"][-1:]:
        point.update({"return": data["return"]["mean"], "se": data["return"]["se"]})


def only_clicks(data: dict) -> None:
    """Other objectives than the world's, consistently."""
    data["objectives"] = {"click": 0.1}
    data["objectives_se"] = {"click": 0.01}


def better(data: dict) -> None:
    """A lie that is consistent in itself."""
    data["return"]["mean"] += 3.0
    data["objectives"]["click"] += 3.0
    end_curve(data)


@pytest.mark.parametrize(
    ("edit", "what", "why"),
    [
        (set_to("return", "mean", value=1.5), "numbers", "return 1.5, but its objectives pay"),
        (set_to("return", "mean", value=float("nan")), "files", "NaN is no number of JSON's"),
        (set_to("return", "se", value=-0.1), "files", "return se: must not be negative"),
        (set_to("return", "se", value=50.0), "numbers", "se sqrt(n) = 354, others'"),
        (set_to("return", "n", value=49), "numbers", "49 evaluation users, not 50"),
        (set_to("length", "mean", value=6.0), "numbers", "outside [1, 5]"),
        (set_to("objectives", "click", value=99.0), "numbers", "99 clicks in"),
        (set_to("objectives", value={"click": 0.1}), "files", "objectives_se: must be of the objectives ['click']"),
        (only_clicks, "numbers", "objectives ['click'], not"),
        (set_to("cost", "train_seconds", value=-1), "numbers", "negative seconds"),
        (set_to("cost", value={}), "files", "cost: must hold 'train_seconds'"),
        (set_to("curve", value=[{"steps": 10**6, "reward": 1.0}]), "numbers", "the learning curve's steps"),
        (set_to("privileged", value=True), "numbers", "privileged is True, of the agent False"),
        (set_to("software", value={}), "software", "no recgym, python"),
        (set_to("job", "steps", value=63), "files", "it belongs to another job or format"),
        (set_to("return", value=3), "files", "return: must be numbers by name"),
        (set_to("curve", value=[{"steps": "many"}]), "files", "curve 0 steps: must be a number"),
        (set_to("curve", value=[7]), "files", "curve 0: must be numbers by name"),
        (better, "numbers", "but pinned is 0.3 ± 0.1"),
    ],
)  # fmt: skip
def test_a_tampered_result_is_found(folder, edit, what, why):
    change(folder, "random", edit)
    found = failed(folder, sample=99)
    assert why in found[what]
    assert found.keys() <= {what, "complete"}


def test_implausible_scores_are_found(folder):
    def huge(data: dict) -> None:
        data["objectives"]["purchase"] += 2.0
        data["return"]["mean"] += 10.0

    change(folder, "random", huge)
    assert "outside [-3.0, 3.0]" in failed(folder)["numbers"]


def test_a_trained_agent_is_trained_again(folder):
    change(folder, "third", better)
    change(folder, "third", better, k=1)
    found = failed(folder, sample=99)
    assert [*found] == ["again: shop, third, seed 0", "again: shop, third, seed 10000"]
    assert "same versions, but training differs" in found["again: shop, third, seed 0"], (
        "an agent of recgym must be equal"
    )


def test_other_versions_may_differ_by_chance_only(folder):
    def newer(data: dict) -> None:
        data["software"]["numpy"] = "1.0"
        data["return"]["mean"] += 0.02
        data["objectives"]["click"] += 0.02

    change(folder, "popularity", newer)
    assert failed(folder, sample=99) == {}
    change(folder, "popularity", better)
    assert "other versions" in failed(folder, sample=99)["again: shop, popularity"]


@pytest.mark.parametrize(
    ("edit", "what", "why"),
    [
        (lambda m: m["entries"].pop(), "suite", "tiny-v0 has shop, random, key"),
        (lambda m: m["references"]["shop"].update(random=[2.0, 0.1]), "numbers", "normalised score inf outside"),
        (
            lambda m: m["entries"][1].update(label="popularity"),
            "suite",
            "popularity: several agents or hyper-parameters under one",
        ),
        (lambda m: m["references"]["shop"].update(random=[0.0, 0.1]), "suite", "references are not those of tiny-v0"),
        (lambda m: m.update(format=2), "manifest", "must be of format 1, got 2"),
        (lambda m: m.update(entries=[]), "manifest", "must be an object with a list of entries"),
        (lambda m: m["entries"][0].update(key="0" * 16), "manifest", "got '0000000000000000'"),
        (lambda m: m["entries"][0]["job"].update(steps=1), "manifest", "entry 0: key: must be that of its job"),
        (lambda m: m["entries"][0]["job"].update(extra=1), "manifest", "entry 0: job: must have the parts"),
        (lambda m: m["entries"].append(m["entries"][0]), "manifest", "an entry is there twice"),
        (lambda m: m.pop("command"), "manifest", "command must be text"),
    ],
)
def test_a_tampered_manifest_is_found(folder, edit, what, why):
    change_manifest(folder, edit)
    found = failed(folder, sample=0)
    assert why in found[what]


def test_stray_and_failed_files_are_found(folder):
    (folder / "jobs" / "0123.json").write_text("{}")
    (folder / "jobs" / "0123.error.txt").write_text("x")
    (folder / ".lock").touch()
    assert (
        failed(folder, sample=0)["files"] == "0123.error.txt: a job failed\n0123.json: belongs to no job of suite.json"
    )
    (folder / "suite.json").write_text("{")
    assert "suite.json" in failed(folder)["manifest"]


def test_an_added_agent_keeps_to_the_budgets(tmp_path):
    def checked(**changes) -> dict[str, str]:
        mine = Contender("mine", PLACE)
        chosen = dataclasses.replace(TINY, name="tiny-v0+mine", agents=(mine, *TINY.agents), **changes)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        run.run_suite(chosen, folder, console=Console(file=io.StringIO()), only=["mine"])
        return failed(folder, sample=1)

    assert checked() == {}
    for changes in (
        {"users": 40},
        {"seeds": (0, 5)},
        {"tasks": (NamedTask("shop", SHOP, 128),)},
        {"tasks": (NamedTask("shop", Task(SHOP.id, {"horizon": 4}), 64),)},
    ):
        assert "not the options, budget, seeds or evaluation users of tiny-v0" in checked(**changes)["suite"]


def test_a_suite_of_ones_own_has_nothing_to_compare_with(folder):
    change_manifest(folder, lambda m: m.update(suite="custom"))
    assert "references are pinned, which no custom run has" in failed(folder, sample=0)["suite"]
    change_manifest(folder, lambda m: m.pop("references"))
    assert checked(folder, sample=0)[1].ok is None
    change_manifest(folder, lambda m: m.update(entries=m["entries"][1:]))
    assert "third: seeds [10000]; a run has 0, 10000 and so on" in failed(folder, sample=0)["suite"]


def test_an_agent_that_is_not_here_is_not_judged(folder, monkeypatch):
    monkeypatch.delattr(sys.modules[__name__], "Place")
    verdicts = checked(folder, sample=99)
    judged = {v.what: v.ok for v in verdicts if v.what.startswith("again")}
    assert [judged[what] for what in sorted(judged)] == [True, True, None, None]


# Forgeries

MINE = dataclasses.replace(TINY, name="tiny-v0+mine", agents=(Contender("mine", "linucb"), *TINY.agents))
RUN = ["mine", "popularity", "random"]


@pytest.fixture(scope="module")
def contribution(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mine")
    run.run_suite(MINE, folder, console=Console(file=io.StringIO()), only=RUN)
    return folder


@dataclasses.dataclass
class Forged:
    """A contribution to forge."""

    folder: Path

    def edit(self, *edits: Callable[[dict], None], label: str = "mine", seed: int | None = None) -> None:
        for entry in MINE.entries():
            if entry.label == label and seed in (None, entry.job.seed):
                path = run.result_file(self.folder, entry.job.key)
                data = json.loads(path.read_bytes())
                for edit in edits:
                    edit(data)
                path.write_text(json.dumps(data))

    def result(self, label: str, k: int = 0) -> dict:
        entry = [entry for entry in MINE.entries() if entry.label == label][k]
        return json.loads(run.result_file(self.folder, entry.job.key).read_bytes())

    def run(self, chosen: Suite) -> None:
        """Another run in the place of the honest one."""
        shutil.rmtree(self.folder)
        run.run_suite(chosen, self.folder, console=Console(file=io.StringIO()), only=RUN)


def scaled(factor: float) -> Callable[[dict], None]:
    def edit(data: dict) -> None:
        for part in (data["return"], *data["curve"]):
            for name in part.keys() & {"mean", "return", "se"}:
                part[name] *= factor
        for name in data["objectives"]:
            data["objectives"][name] *= factor

    return edit


def raised(clicks: int) -> Callable[[dict], None]:
    """More clicks, a whole number of them, wherever that shows."""

    def edit(data: dict) -> None:
        data["return"]["mean"] += clicks / data["return"]["n"]
        data["objectives"]["click"] += clicks / data["return"]["n"]
        end_curve(data)

    return edit


def numbers_of(other: dict, *parts: str) -> Callable[[dict], None]:
    def edit(data: dict) -> None:
        data.update({part: other[part] for part in parts})
        end_curve(data)

    return edit


def swap_numbers(forged: Forged) -> None:
    first, second = forged.result("mine", 0), forged.result("mine", 1)
    for seed, other in ((0, second), (suite.SEED_STRIDE, first)):
        forged.edit(numbers_of(other, "return", "length", "objectives", "curve"), seed=seed)


def swap_files(forged: Forged) -> None:
    first, second = (run.result_file(forged.folder, e.job.key) for e in MINE.entries() if e.label == "mine")
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


def trade_objectives(data: dict) -> None:
    data["objectives"]["cart"] += 2 / data["return"]["n"]  # for which nothing is paid


def drop_a_seed(forged: Forged) -> None:
    entry = next(entry for entry in MINE.entries() if entry.label == "mine")
    run.result_file(forged.folder, entry.job.key).unlink()
    change_manifest(forged.folder, lambda m: m.update(entries=[e for e in m["entries"] if e["key"] != entry.job.key]))


def claim_other_versions(forged: Forged) -> None:
    old = set_to("software", "numpy", value="1.0")
    forged.edit(raised(100), old)


COST = {"train_seconds": 1.0, "evaluation_seconds": 1.0}
AGAIN = "again: shop, mine, seed 0"


@pytest.mark.parametrize(
    ("forge", "what", "why"),
    [
        (lambda f: f.edit(scaled(1.4)), "numbers", "click per user: no whole number of them over 50 users"),
        (lambda f: f.edit(raised(20)), AGAIN, "should be equal to the bit"),
        (lambda f: f.edit(numbers_of(f.result("popularity"), "return", "length", "objectives", "cost")),
         "numbers", "to the last digit; is it a copy?"),
        (lambda f: f.edit(numbers_of(f.result("popularity"), "return", "length", "objectives")), AGAIN, "to the bit"),
        (swap_numbers, AGAIN, "to the bit"),
        (swap_files, "files", "belongs to another job"),
        (lambda f: f.run(dataclasses.replace(MINE, seeds=(0, 7))), "suite", "not the options, budget, seeds"),
        (drop_a_seed, "suite", "mine, shop: seeds [10000], not [0, 10000]"),
        (lambda f: f.edit(lambda r: r["curve"][-1].update({"return": 9.0})), "numbers", "the learning curve ends at 9"),
        (lambda f: f.edit(lambda r: r["curve"][0].update({"return": 9.0})), AGAIN, "to the bit"),
        (lambda f: f.edit(lambda r: r["curve"].pop()), "numbers", "does not end with the training steps"),
        (lambda f: f.edit(trade_objectives), AGAIN, "to the bit"),
        (lambda f: f.edit(set_to("return", "se", value=5.0), seed=0), "numbers", "se sqrt(n)"),
        (lambda f: f.edit(set_to("return", "se", value=0.2)), AGAIN, "to the bit"),
        (lambda f: f.edit(set_to("privileged", value=True)), "numbers", "privileged is True, of the agent False"),
        (lambda f: f.run(dataclasses.replace(MINE, agents=(Contender("mine", "myopic"), *TINY.agents))),
         "numbers", None),
        (lambda f: f.edit(raised(50), label="random"), "numbers", "but pinned is 0.3 ± 0.1"),
        (claim_other_versions, AGAIN, "other versions or processors"),
    ],
)  # fmt: skip
def test_a_forgery_is_caught(contribution, tmp_path, forge, what, why):
    folder = shutil.copytree(contribution, tmp_path / "forged")
    forge(Forged(folder))
    if why is None:  # an oracle that says that it is none
        for path in (folder / "jobs").iterdir():
            path.write_text(path.read_text().replace('"privileged": true', '"privileged": false'))
        why = "privileged is False, of the agent True"
    found = {v.what: v.why for v in check.submit_check(folder, sample=2) if v.ok is False}
    assert why in found[what], found


def test_the_contribution_itself_is_right(contribution):
    assert [v for v in check.submit_check(contribution, sample=2) if not v.ok] == []


def test_a_spread_that_only_the_row_shows_excuses_nothing():
    def result(mean: float, **software) -> Result:
        job = suite.Job(SHOP, "dqn", {}, 9, 0, 400)
        return Result(job, False, Returns(mean, 0.1, 400), Length(9.0, 9.0), {}, [], COST, software)

    assert check.compare(result(5.6, numpy="1"), result(5.0), between=0.1)[0] is True
    assert check.compare(result(6.0, numpy="1"), result(5.0), between=0.01)[0] is False
    assert check.compare(result(6.0, numpy="1"), result(5.0), between=5.0)[0] is None, (
        "nor ok, as a row 1.2 times as good was"
    )


def test_a_published_row_is_compared_with_what_is_published(contribution, tmp_path, monkeypatch):
    shutil.copytree(contribution, tmp_path / "results" / "mine")
    monkeypatch.setattr(files, "PUBLISHED", tmp_path / "results")
    folder = shutil.copytree(contribution, tmp_path / "forged")
    whats = {v.what: v.ok for v in check.submit_check(folder, sample=0)}
    assert whats["published"] is True
    Forged(folder).edit(raised(4), label="popularity")
    assert "equal to the bit" in failed_in(folder)["published"]
    assert "published" not in {v.what for v in check.submit_check(tmp_path / "results" / "mine", sample=0)}


def failed_in(folder: Path) -> dict[str, str]:
    return {v.what: v.why for v in check.submit_check(folder, sample=0) if v.ok is False}


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in files.PUBLISHED.glob("*/suite.json")), ids=lambda p: p.name
)
def test_the_published_folders_are_right(folder):
    assert failed_in(folder) == {}


# Safety

EVIL = """
import pathlib
pathlib.Path(__file__).with_suffix(".ran").touch()
from baselines.agent import Agent
class X(Agent):
    def act(self, observation, mask, explore=False):
        return mask.argmax(axis=1)
import gymnasium
gymnasium.register("recgym/Evil-v0", vector_entry_point="recgym.envs:RecVectorEnv")
"""


def test_nothing_of_the_contributors_is_imported_unless_trusted(tmp_path, monkeypatch):
    """Agents by file, by module and by entry point, tasks by module, worlds by path; by check and by report."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "evil.py").write_text(EVIL)
    names = [str(tmp_path / "sub" / "evil.py") + ":X", "sub.evil:X", "sub.evil:recgym/News-v0", "an-entry-point"]
    world = {"world": str(tmp_path / "sub" / "world")}
    tasks = [SHOP, Task("sub.evil:recgym/News-v0"), Task("recgym/Evil-v0"), Task(SHOP.id, world)]
    chosen = Suite(
        "custom",
        tuple(NamedTask(f"task {i}", task, 0, SHOP if i == 3 else None) for i, task in enumerate(tasks)),
        tuple(Contender(name, name, trained=False) for name in (*names, "random")),
        (0,),
        users=50,
    )
    honest = run.execute(suite.Job(SHOP, "random", {}, 0, 0, 50)).to_dict()
    run.write_json(tmp_path / "suite.json", {**chosen.manifest(), "command": "x"})
    for entry in chosen.entries():
        result = {**honest, "key": entry.job.key, "job": entry.job.to_dict(), "cost": {**honest["cost"], "train_seconds": len(entry.label) + int(entry.task[-1]) / 9}}  # fmt: skip
        run.write_json(run.result_file(tmp_path, entry.job.key), result)
    verdicts = {v.what: v for v in check.submit_check(tmp_path, sample=99)}
    assert not (tmp_path / "sub" / "evil.ran").exists()
    assert {v.what: v.why for v in verdicts.values() if v.ok is False} == {}
    unjudged = verdicts["not of recgym"]
    assert unjudged.ok is None
    for name in (*names, "sub.evil:recgym/News-v0", "recgym/Evil-v0", world["world"]):
        assert name in unjudged.why
    assert [what for what in verdicts if what.startswith("again")] == ["again: task 0, random"]
    report.report(tmp_path, Console(file=io.StringIO()))
    assert not (tmp_path / "sub" / "evil.ran").exists()
    with pytest.raises(ConfigError, match=r"trust: got .*must be one of"):
        check.submit_check(tmp_path, trust=["sub.evil:Y"])
    trusted = {v.what: v for v in check.submit_check(tmp_path, sample=99, trust=["sub.evil:X"])}
    assert (tmp_path / "sub" / "evil.ran").exists()
    assert trusted["again: task 0, sub.evil:X"].ok is False, "its result was the random agent's"


def test_command_line(folder, monkeypatch):
    console = Console(file=io.StringIO(), width=80)
    monkeypatch.setattr(cli, "console", console)

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["benchmarks", "submit-check", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    assert call(str(folder), "--sample", "1", "--seed", "3") == 0
    change(folder, "random", better)
    assert call(str(folder), "--sample", "9", "--max-steps", "0") == 1
    assert call(str(folder / "nowhere")) == 2
    text = console.file.getvalue()
    assert "WRONG" in text
    assert max(map(len, text.replace(str(folder), "").splitlines())) <= 80
    with pytest.raises(ConfigError, match="sample: must be"):
        checked(folder, sample=-1)
