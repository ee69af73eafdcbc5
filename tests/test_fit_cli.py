"""`python -m recgym fit` and `info`: what is written, what is said, and what goes wrong."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("polars")
pytest.importorskip("torch")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("rich")

import torch

import recgym
import recgym.__main__ as command_line
from recgym.__main__ import main
from recgym.fit import display, folder
from recgym.fit.display import Display
from recgym.fit.world_report import WorldReport

QUICK = ("--steps", "10", "--dimensions", "2", "--candidates", "5")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of 300 rows of 40 customers."""
    rng = np.random.default_rng(0)
    lines = ["shopper,product,ts,request,position,clicked,category,price,feature_age"]
    for n in range(100):
        for s, k in enumerate(rng.permutation(8)[:3]):
            click = int(rng.random() < (0.5, 0.3, 0.2)[s] * (1 + (k == n % 8)) / 2)
            lines.append(
                f"c{n % 40},p{k},2026-02-{1 + n // 5:02d} {n % 24:02d}:0{n // 40}:00,r{n},{s + 1},{click},t{k % 3},{5 + k},{n % 7}"
            )
    file = tmp_path_factory.mktemp("table") / "events.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture(scope="module")
def world(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command makes of it."""
    out = tmp_path_factory.mktemp("fitted") / "world"
    assert (
        main(["fit", "csv", str(table), "-o", str(out), "--columns", "user=shopper", *QUICK, "--reward", "click=2"])
        == 0
    )
    return out


def test_the_folder_has_the_world_and_its_report(world: Path) -> None:
    assert sorted(os.listdir(world)) == ["arrays.npz", "fit.json", "report.html", "report.md", "world.json"]
    assert os.listdir(world.parent) == ["world"]
    report = WorldReport.load(world)
    assert report.title == "events.csv"
    assert report.command.startswith("python -m recgym fit csv ")
    assert report.source["columns"]["user"] == "shopper"
    assert report.logs["rows"] == 300
    assert report.logs["users"] == 40
    assert report.settings["steps"] == 10
    assert report.title in (world / "report.html").read_text()
    assert (world / "report.md").read_text().startswith("# A world fitted to events.csv")
    assert json.loads((world / "fit.json").read_text())["format"] == "recgym-fit-1"


def test_the_world_is_played_in_every_form(world: Path) -> None:
    """By the very lines that the report gives."""
    names: dict[str, Any] = {}
    lines = WorldReport.load(world).play(str(world))
    for line in lines:
        exec(line, names)
        if line.startswith(("env", "users")):
            env = names.get("users") or names["env"]
            _, info = env.reset(seed=0)
            _, reward, *_ = env.step(env.action_space.sample())
            assert np.isfinite(reward).all()
            assert "action_mask" in info
    assert [line.split("(")[0] for line in lines if "gym.make" in line] == ["env = gym.make"] * 3 + [
        "users = gym.make_vec"
    ]
    assert gym.make("recgym/Ecommerce-v0", world=str(world)).unwrapped.world.reward.to_dict()["objectives"] == {
        "click": 2.0
    }  # type: ignore[attr-defined]


def test_info_says_what_a_fitted_world_is(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(world)]) == 0
    said = capsys.readouterr().out
    report = WorldReport.load(world)
    for wanted in (
        *report.findings,
        *report.unknown,
        *(p.name for p in report.parameters),
        "8 in 3 topics",
        "gym.make",
        "Logged beside simulated",
    ):
        assert wanted in said


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("ecommerce", "gym.make('recgym/EcommerceSlate-v0')"),
        ("recgym/NewsSlate-v0", "slates of 5"),
        ("open-bandit", "What such logs cannot tell"),
    ],
)
def test_info_on_worlds_that_come_with_recgym(name: str, wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", name]) == 0
    assert wanted in capsys.readouterr().out


def test_logs_that_were_read_before_and_k_anonymity(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["read", "csv", str(table), "-o", str(tmp_path / "logs"), "--columns", "user=shopper"]) == 0
    arguments = [
        str(tmp_path / "logs"),
        "-o",
        str(tmp_path / "w"),
        *QUICK,
        "--choice",
        "independent",
        "--k-anonymity",
        "5",
    ]
    assert main(["fit", *arguments]) == 0
    report = WorldReport.load(tmp_path / "w")
    assert any("fewer than 5 users" in line for line in report.privacy)
    assert report.settings["choice"] == "independent"
    before = (tmp_path / "w" / "fit.json").read_bytes()
    assert main(["fit", "logs", *arguments[:-4], "--choice", "independent"]) == 0  # in the place of the first
    assert (tmp_path / "w" / "fit.json").read_bytes() != before
    assert {*os.listdir(tmp_path)} == {"logs", "w"}
    assert main(["fit", *arguments, "--columns", "user=x"]) == 2
    assert "take no options of reading" in capsys.readouterr().err


def test_nothing_is_half_written(
    table: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("benchmarks.fit_page.fit_page", broken)
    arguments = ["fit", "csv", str(table), "--columns", "user=shopper", "--choice", "independent", *QUICK]
    assert main([*arguments, "-o", str(tmp_path / "w")]) == 2
    assert "output: " in capsys.readouterr().err.splitlines()[-1]
    assert os.listdir(tmp_path) == [".w.unfinished"]  # the trainings, with which the same command goes on
    before = {file.name: file.read_bytes() for file in world.iterdir()}
    assert main([*arguments, "-o", str(world)]) == 2
    assert {file.name: file.read_bytes() for file in world.iterdir()} == before
    assert {*os.listdir(world.parent)} == {"world", ".world.unfinished"}
    shutil.rmtree(world.parent / ".world.unfinished")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit", "cvs", "{csv}", "-o", "{out}"), "format: got 'cvs'. Did you mean 'csv'"),
        (("fit", "csv", "{csv}", "-o", "{out}"), "no column has a usual name for user"),
        (("fit", "csv", "-o", "{out}"), "logs: must be a format and a path, or a folder that `read` wrote, got 'csv'"),
        (("fit", "csv", "{out}/none.csv", "-o", "{out}"), "is not there"),
        (("fit", "logs", "{out}", "-o", "{out}"), "a folder that `read` wrote"),
        (("fit", "csv", "{csv}", "-o", "{taken}"), "output: must not be there, be empty, or hold a fitted world and nothing else"),
        (("fit", "csv", "{csv}", "-o", "{csv}/x"), "output: "),
        (("fit", "csv", "{csv}", "-o", "{out}", "--folds", "3"), "folds: is an option of open-bandit"),
        (("fit", "open-bandit", "{csv}", "-o", "{out}", "--steps", "3"), "steps: is no option of open-bandit"),
        (("fit", "csv", "{csv}", "-o", "{out}", "--reward", "click=much"), "reward: must be NAME=NUMBER,..., got 'much'"),
        (("fit", "csv", "{csv}", "-o", "{out}", "--columns", "user=shopper", "--choice", "cascad"), "Did you mean 'cascade'"),
        (("fit", "csv", "{csv}", "-o", "{out}", "--columns", "user=shopper", "--steps", "0"), "steps: must be an integer"),
        (("fit", "csv", "{csv}", "-o", "{out}", "--columns", "user=shopper", "--k-anonymity", "900"), "k-anonymity: needs at least"),
        (("fit", "csv", "{csv}", "-o", "{out}", "--columns", "user=shopper", "--option", "encodin=x"), "encodin"),
        (("info", "{out}"), "world: got "),
        (("info", "ecommercee"), "Did you mean 'ecommerce'"),
    ],
)  # fmt: skip
def test_errors_are_one_line(
    table: Path, tmp_path: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    names = {"csv": table, "out": tmp_path / "out", "taken": tmp_path / "taken"}
    assert main([word.format(**names) for word in arguments]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("python -m recgym: error: ")
    assert message in last
    assert not (tmp_path / "out").exists()
    assert os.listdir(tmp_path / "taken") == ["thesis.txt"]


def test_extras_that_are_not_installed_are_named(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "find_spec", lambda name: None if name in ("torch", "polars") else object())
    assert main(["fit", "csv", str(table), "-o", "nowhere"]) == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith('fit: needs polars and torch; pip install "recgym[logs,bench]"')
    )


def test_a_torn_report_is_an_error(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recgym.World.load(world).save(tmp_path)
    (tmp_path / "fit.json").write_text("{")
    assert main(["info", str(tmp_path)]) == 2
    assert "must be JSON" in capsys.readouterr().err
    (tmp_path / "fit.json").write_text('{"format": "recgym-fit-9"}')
    assert main(["info", str(tmp_path)]) == 2
    assert "must be of format recgym-fit-1" in capsys.readouterr().err


def test_progress_has_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with Display(stream) as told:
        told.say("reading")
        for k in range(1, 5):
            now[0] = 30.0 * k
            told("tastes", k / 4, 0.5)
        now[0] = 121.0
        told("tastes", 0.5, 0.4)  # once more from the beginning
    assert stream.getvalue().splitlines() == [
        "0:00:00 reading", "0:00:30 tastes: 25%, 0.5, 0:01:30 left", "0:01:00 tastes: 50%, 0.5, 0:01:00 left",
        "0:01:30 tastes: 75%, 0.5, 0:00:30 left", "0:02:00 tastes: 100%, 0.5", "0:02:01 tastes: 50%, 0.4, 0:00:01 left",
    ]  # fmt: skip


def test_progress_in_a_terminal_is_bars() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with Display(stream) as told:
        told("tastes [x]", 0.5, 0.25)
        told.say("done [y]")
    assert "tastes [x]" in stream.getvalue()
    assert "done [y]" in stream.getvalue()


@pytest.mark.usefixtures("two_threads")
def test_few_rows_are_fitted_on_one_thread_and_no_setting_stays(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []

    def fit_world(*_: object, **__: object) -> None:
        used.append(torch.get_num_threads())
        raise recgym.errors.FitError("enough")

    monkeypatch.setattr("recgym.fit.worlds.fit_world", fit_world)
    before = torch.get_num_threads()
    from recgym.logs import read

    with pytest.raises(recgym.errors.FitError, match="enough"):
        folder.fit_and_report(read("csv", table, columns={"user": "shopper"}))
    assert used == [1]
    assert torch.get_num_threads() == before


def test_what_was_known_of_an_item_is_read_and_fitted(table: Path, world: Path) -> None:
    """Columns `feature_NAME` of a file are signals of the world."""
    from recgym.logs import read

    logs = read("csv", table, columns={"user": "shopper"})
    np.testing.assert_array_equal(sorted(set(logs.events["feature_age"].to_list())), [0, 1, 2, 3, 4, 5, 6])
    assert "feature_age" in logs.describe()
    renamed = read("csv", table, columns={"user": "shopper", "feature_weeks": "feature_age"})
    assert [name for name in renamed.events.columns if name.startswith("feature_")] == ["feature_weeks"]
    assert "age" in recgym.World.load(world).market.names
    wrong = table.with_name("wrong.csv")
    wrong.write_text(table.read_text().replace(",6\n", ",six\n", 1))
    found = read("csv", wrong, columns={"user": "shopper"})
    assert found.dropped == {"feature_age must be a finite number": 1}
