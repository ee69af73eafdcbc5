"""submit-check: an honest folder passes, and each way of tampering with it is found."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("matplotlib")

from rich.console import Console

from baselines.agent import OnlineAgent, Task
from benchmarks import __main__ as cli
from benchmarks import check, run, suite
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
    (NamedTask("shop", SHOP, 64),),
    (Contender("third", PLACE, {"place": 2}), *(Contender(name, name, trained=False) for name in ("popularity", "random"))),
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


def failed(folder: Path, **arguments) -> dict[str, str]:
    """What a check finds wrong: what -> why."""
    return {v.what: v.why for v in check.submit_check(folder, **arguments) if v.ok is False}


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
    verdicts = check.submit_check(folder, sample=99, progress=said.append)
    assert [v.ok for v in verdicts] == [True] * 10
    assert [v.what for v in verdicts[:6]] == ["manifest", "suite", "complete", "files", "numbers", "software"]
    assert all("equal to the bit" in v.why for v in verdicts[6:])
    assert sum("running again" in text for text in said) == 4
    assert "tiny-v0, sha256 " + suite.digest(TINY.to_dict())[:16] in verdicts[1].why


def test_the_sample_is_the_reviewers_choice(folder):
    def drawn(**arguments) -> list[str]:
        return [v.what for v in check.submit_check(folder, **arguments) if v.what.startswith("again")]

    assert drawn(sample=2, seed=1) == drawn(sample=2, seed=1)
    assert len({tuple(drawn(sample=2, seed=seed)) for seed in range(6)}) > 1
    assert drawn(sample=99, max_steps=10) == ["again: shop, popularity", "again: shop, random"]
    assert check.submit_check(folder, sample=0)[-1] == check.Verdict("re-runs", None, "none asked for")


def test_rows_that_were_not_run_are_no_fault_but_half_a_row_is(folder):
    keys = [entry_of("third", k).job.key for k in (0, 1)]
    run.result_file(folder, keys[0]).unlink()
    assert failed(folder, sample=0) == {"complete": "third: 1 of 2 jobs have no result"}
    run.result_file(folder, keys[1]).unlink()
    verdict = check.submit_check(folder, sample=0)[2]
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


def better(data: dict) -> None:
    """A lie that is consistent in itself."""
    data["return"]["mean"] += 1.0
    data["objectives"]["click"] += 1.0


@pytest.mark.parametrize(
    ("edit", "what", "why"),
    [
        (set_to("return", "mean", value=1.5), "numbers", "return 1.5, but its objectives pay"),
        (set_to("return", "mean", value=float("nan")), "numbers", "return mean is nan"),
        (set_to("return", "se", value=-0.1), "numbers", "standard error -0.1 < 0"),
        (set_to("return", "se", value=50.0), "numbers", "se sqrt(n) = 354, others'"),
        (set_to("return", "n", value=49), "numbers", "49 evaluation users, not 50"),
        (set_to("length", "mean", value=6.0), "numbers", "outside [1, 5]"),
        (set_to("objectives", "click", value=99.0), "numbers", "99 clicks in"),
        (set_to("objectives", value={"click": 0.1}), "numbers", "objectives ['click'], not"),
        (set_to("cost", "train_seconds", value=-1), "numbers", "negative seconds"),
        (set_to("cost", value={}), "numbers", "lacks 'train_seconds'"),
        (set_to("curve", value=[{"steps": 10**6, "reward": 1.0}]), "numbers", "the learning curve's steps"),
        (set_to("privileged", value=True), "numbers", "privileged is True, of the agent False"),
        (set_to("software", value={}), "software", "no recgym, python"),
        (set_to("job", "steps", value=63), "numbers", "format, key or job are not those"),
        (set_to("return", value=3), "files", "'return' must be of type dict"),
        (better, "again: shop, random", "it should be equal to the bit"),
    ],
)  # fmt: skip
def test_a_tampered_result_is_found(folder, edit, what, why):
    change(folder, "random", edit)
    found = failed(folder, sample=99)
    assert why in found[what]
    assert found.keys() <= {what, "complete", "again: shop, random"}


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
    assert "same versions, but training differs" in found["again: shop, third, seed 0"]


def test_other_versions_may_differ_by_chance_only(folder):
    def newer(data: dict) -> None:
        data["software"]["numpy"] = "1.0"
        data["return"]["mean"] += 0.01
        data["objectives"]["click"] += 0.01

    change(folder, "random", newer)
    assert failed(folder, sample=99) == {}
    change(folder, "random", better)
    change(folder, "random", better)
    assert "other versions" in failed(folder, sample=99)["again: shop, random"]


@pytest.mark.parametrize(
    ("edit", "what", "why"),
    [
        (lambda m: m["entries"].pop(), "suite", "tiny-v0 has shop, random, key"),
        (lambda m: m["references"]["shop"].update(random=[0.0, 0.1]), "suite", "references are not those of tiny-v0"),
        (lambda m: m.update(format=2), "manifest", "must be of format 1, got 2"),
        (lambda m: m.update(entries=[]), "manifest", "must be an object with a list of entries"),
        (lambda m: m["entries"][0].update(key="0" * 16), "manifest", "its key is '0000000000000000'"),
        (lambda m: m["entries"][0]["job"].update(steps=1), "manifest", "entry 0: ValueError: its key"),
        (lambda m: m["entries"][0]["job"].update(extra=1), "manifest", "other parts than a job"),
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
    assert failed(folder, sample=0)["files"] == "0123.error.txt: a job failed\n0123.json: belongs to no job of suite.json"
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
    assert check.submit_check(folder, sample=0)[1].ok is None


def test_an_agent_that_is_not_here_is_not_judged(folder, monkeypatch):
    monkeypatch.delattr(sys.modules[__name__], "Place")
    verdicts = check.submit_check(folder, sample=99)
    judged = {v.what: v.ok for v in verdicts if v.what.startswith("again")}
    assert [judged[what] for what in sorted(judged)] == [True, True, None, None]


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
        check.submit_check(folder, sample=-1)
