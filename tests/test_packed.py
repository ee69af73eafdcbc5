"""The compact form of a results folder: lossless, the same bytes everywhere, read as the other form is, and strictly."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("matplotlib")

from test_benchmarks import make_folder, quiet, result_of, tiny

from benchmarks import check, files, packed, report, run, tables
from benchmarks.packed import CURVES, RESULTS, pack, read_packed, read_results, unpack
from benchmarks.suite import Contender
from recgym.errors import ConfigError

CHOSEN = tiny(Contender("first", "linucb"), references=("planner", "random"))
JOBS = {entry.job.key: entry.job for entry in CHOSEN.entries()}
SCORES = {"first": 3.0, "random": 2.0, "planner": 6.0}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A results folder as a run leaves it: learners with curves, references without."""
    folder = tmp_path / "whole"
    make_folder(folder, CHOSEN, SCORES)
    for key, job in JOBS.items():
        if job.steps:
            points = [{"steps": steps, "return": 0.1 * steps, "se": 1 / 3} for steps in range(8, job.steps + 1, 8)]
            run.write_json(run.result_file(folder, key), result_of(job, 3.0, curve=points))
    return folder


def test_packing_is_lossless_and_gives_the_same_bytes(folder, tmp_path):
    before = contents(folder)
    other = shutil.copytree(folder, tmp_path / "other")
    assert pack(folder) == pack(other) == len(JOBS)
    after = contents(folder)
    assert after == contents(other)
    assert {*after} == {"suite.json", RESULTS, CURVES}
    assert json.loads(after["suite.json"]) == json.loads(before["suite.json"])
    assert after["suite.json"].count(b"\n") < 2 * len(JOBS)
    lines = [json.loads(line) for line in after[RESULTS].splitlines()]
    assert [line["key"] for line in lines] == sorted(JOBS)
    assert after[CURVES][4:10] == b"\0\0\0\0\x02\xff", "no time and no system in the header"
    assert pack(folder) == 0
    assert contents(folder) == after
    unpack(folder)
    del before["suite.json"]
    assert {name: data for name, data in contents(folder).items() if name != "suite.json"} == before


def test_reports_and_checks_read_both_forms(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    pack(other)
    for place in (folder, other):
        report.report(place, quiet())
    assert (folder / "leaderboard.md").read_bytes() == (other / "leaderboard.md").read_bytes()
    assert (folder / "index.html").read_bytes() == (other / "index.html").read_bytes()
    one, two = (check.submit_check(place, sample=0) for place in (folder, other))
    assert one == two


def test_a_run_goes_on_in_a_packed_folder(tmp_path):
    first, both = tiny(), tiny(Contender("first", "outsiders:First"), Contender("second", "popularity", trained=False))
    assert run.run_suite(first, tmp_path, console=quiet()) == []
    assert pack(tmp_path) == 8
    before = contents(tmp_path)
    console = quiet()
    assert run.run_suite(first, tmp_path, console=console) == []
    assert "8 jobs, 8 done before, 0 to run" in console.file.getvalue()
    assert contents(tmp_path) == before
    assert run.run_suite(both, tmp_path, console=quiet()) == []
    assert len(list((tmp_path / "jobs").iterdir())) == 2, "what is new lies beside what is packed"
    assert tables.read_folder(tmp_path).missing == []
    pack(tmp_path)
    run.run_suite(both, tmp_path, console=quiet(), fresh=True)
    assert not (tmp_path / RESULTS).is_file(), "what is run anew lies in job files"
    assert len(list((tmp_path / "jobs").iterdir())) == len({entry.job.key for entry in both.entries()})


def test_a_job_file_beside_the_packed_ones(folder):
    results, _ = read_results(folder, JOBS)
    pack(folder)
    key = min(JOBS)
    path = run.result_file(folder, key)
    run.write_json(path, results[key].to_dict())
    assert read_results(folder, JOBS) == (results, {})
    assert pack(folder) == len(JOBS)
    assert not path.exists()
    run.write_json(path, {**results[key].to_dict(), "privileged": not results[key].privileged})
    with pytest.raises(ConfigError, match=rf"jobs\.jsonl and .*{key}\.json must hold equal results of the job {key}"):
        read_results(folder, JOBS)
    verdicts = check.submit_check(folder, sample=0)
    assert [(v.what, v.ok) for v in verdicts] == [("files", False)]


def test_what_is_not_whole_is_not_packed(folder):
    key = next(key for key, job in JOBS.items() if job.steps)
    path = run.result_file(folder, key)
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(ConfigError, match="must hold whole rows; run the rest of 'first', got '3 of 4 jobs'"):
        pack(folder)
    run.error_file(folder, key).write_text("Traceback")
    with pytest.raises(
        ConfigError, match=r"must have no failed job; run it with --retry-failed, or remove, got .*error\.txt"
    ):
        pack(folder)
    run.error_file(folder, key).unlink()
    path.write_bytes(content[:-9])
    with pytest.raises(ConfigError, match=rf"folder: .*{key}\.json must be JSON"):
        pack(folder)
    path.write_bytes(content)
    (folder / "jobs" / "stray.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"of its manifest's jobs alone; remove, got .*stray\.json"):
        pack(folder)
    (folder / "jobs" / "stray.json").unlink()
    assert not (folder / RESULTS).exists()
    for job_key, job in JOBS.items():
        if job.steps:
            run.result_file(folder, job_key).unlink()
    assert pack(folder) == 4, "a row of which nothing has run is no fault"
    assert tables.read_folder(folder).missing == ["first: not run yet (all 4 jobs)"]
    with pytest.raises(ConfigError, match=r"must hold suite\.json"):
        pack(folder / "nowhere")


def test_what_a_packed_folder_lacks_is_said_where_nothing_is_left_to_pack(folder):
    pack(folder)
    whole = (folder / RESULTS).read_bytes()
    rewrite(folder / RESULTS, lambda lines: lines.pop())
    with pytest.raises(ConfigError, match="must hold whole rows; run the rest of"):
        pack(folder)
    (folder / RESULTS).write_bytes(whole)
    assert pack(folder) == 0
    key = min(JOBS)
    run.error_file(folder, key).parent.mkdir()
    run.error_file(folder, key).write_text("Traceback")
    with pytest.raises(
        ConfigError, match=r"must have no traceback of a job that has a result; remove, got .*error\.txt"
    ):
        pack(folder)
    assert run.run_suite(CHOSEN, folder, console=quiet(), retry_failed=True) == [], "which does not remove it"
    run.error_file(folder, key).unlink()
    assert pack(folder) == 0
    assert not (folder / "jobs").exists(), "an empty one is left where packing was stopped at its end"


def test_packing_goes_on_wherever_it_was_stopped(folder, tmp_path, monkeypatch):
    expected = shutil.copytree(folder, tmp_path / "expected")
    pack(expected)
    for steps in range(20):
        stopped = shutil.copytree(folder, tmp_path / f"stopped {steps}")
        left = [steps]

        def step(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

        write, unlink = packed.write_atomically, Path.unlink
        with monkeypatch.context() as patch:
            patch.setattr(packed, "write_atomically", lambda *a, w=write, s=step: (s(), w(*a)))
            patch.setattr(Path, "rmdir", lambda path, r=Path.rmdir, s=step: (s(), r(path)))
            patch.setattr(
                Path, "unlink", lambda *a, u=unlink, s=step, **k: (s() if ".tmp" not in a[0].name else None, u(*a, **k))
            )
            try:
                pack(stopped)
                break
            except KeyboardInterrupt:
                pass
        assert read_results(stopped, JOBS) == read_results(expected, JOBS)
        pack(stopped)
        assert contents(stopped) == contents(expected)
        assert not (stopped / "jobs").exists()
    assert steps > len(JOBS)


def rewrite(path: Path, edit) -> None:
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    edit(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lines: lines.reverse(), r"jobs\.jsonl, line 2, must be an object whose key is above"),
        (lambda lines: lines.insert(0, lines[0]), r"line 2, must be an object whose key is above"),
        (lambda lines: lines.__setitem__(0, [3]), r"line 1, must be an object"),
        (lambda lines: lines[0].update(format=2), r"jobs\.jsonl, line 1: it belongs to another job or format"),
        (lambda lines: lines[0]["return"].update(mean=1e300), r"line 1: return mean: must be a number in"),
        (lambda lines: [line.update(curve=line["curve"] + 1) for line in lines], r"must have the curve that curves"),
        (lambda lines: lines[0].update(curve=True), r"must have the curve that curves"),
        (lambda lines: lines[0].update(surprise=1), r"part of a result: got 'surprise'"),
    ],
)
def test_packed_results_of_another_form_are_refused_by_file_and_line(folder, edit, message):
    pack(folder)
    rewrite(folder / RESULTS, edit)
    for read in (read_packed, tables.read_folder, pack):
        with pytest.raises(ConfigError, match=message):
            read(folder) or read_packed(folder)
    with pytest.raises(ConfigError, match=message):
        run.run_suite(CHOSEN, folder, console=quiet())
    assert [v.what for v in check.submit_check(folder, sample=0) if v.ok is False] == ["files"]


OTHER = next(entry.job for entry in tiny(Contender("other", "thompson")).entries() if entry.job.agent == "thompson")


@pytest.mark.parametrize("name", [RESULTS, CURVES])
def test_a_packed_line_of_a_job_that_the_manifest_lacks(folder, name):
    """Nobody would ask for it, and packing again would lose it."""
    pack(folder)
    path, is_curves = folder / name, name == CURVES
    more = {"key": OTHER.key, "curve": [{"steps": 8}]} if is_curves else {**result_of(OTHER, 3.0), "curve": 0}
    content = gzip.decompress(path.read_bytes()) if is_curves else path.read_bytes()
    lines = sorted([*map(json.loads, content.splitlines()), more], key=lambda line: line["key"])
    content = "".join(map(packed._line, lines)).encode()
    path.write_bytes(gzip.compress(content) if is_curves else content)
    line = 1 + [line["key"] for line in lines].index(OTHER.key)
    message = rf"{name}, line {line}, must be of a job of suite\.json, got '{OTHER.key}'"
    before = contents(folder)
    for read in (read_packed, tables.read_folder, pack, lambda folder: run.run_suite(CHOSEN, folder, console=quiet())):
        with pytest.raises(ConfigError, match=message):
            read(folder)
    (verdict,) = check.submit_check(folder, sample=0)
    assert (verdict.what, verdict.ok) == ("files", False)
    assert f"{name}, line {line}, must be of a job" in verdict.why
    assert contents(folder) == before


BAD_CURVES = {  # what the file holds, and what is said of it
    "nothing": (lambda: b"", r"curves\.jsonl\.gz must be a whole gzip file"),
    "no gzip": (lambda: b"no gzip", r"curves\.jsonl\.gz must be a whole gzip file"),
    "torn": (lambda: gzip.compress(b"x" * 10)[:-1], "must be a whole gzip file"),
    "two": (lambda: gzip.compress(b"") * 2, "must be a whole gzip file"),
    "bomb": (lambda: gzip.compress(b"0\n" * 2**26), "must not hold more than 67,108,864 bytes"),
    "no last line": (lambda: gzip.compress(b"{}"), "must end with its last line"),
    "no curve": (lambda: gzip.compress(b'{"key": "0", "curve": []}\n'), "line 1, must hold a key and a curve"),
    "NaN": (lambda: gzip.compress(b'{"key": "0", "curve": [NaN]}\n'), "NaN is no number of JSON's"),
    "another": (lambda: gzip.compress(b'{"key": "0", "curve": [1]}\n'), r"line 1, must be of a job of suite\.json"),
}


@pytest.mark.parametrize(("made", "message"), BAD_CURVES.values(), ids=BAD_CURVES)
def test_packed_curves_of_another_form_are_refused(folder, made, message):
    pack(folder)
    (folder / CURVES).write_bytes(made())
    with pytest.raises(ConfigError, match=message):
        read_packed(folder)


def test_results_that_a_published_folder_holds_too(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PUBLISHED", tmp_path / "results")
    published = shutil.copytree(folder, tmp_path / "results" / "first-v0")
    pack(published)
    whole = tables.read_folder(folder)
    for key in JOBS:  # one that took another time is the same, one of another version is not
        path = run.result_file(folder, key)
        data = json.loads(path.read_bytes())
        data["cost"]["train_seconds"] += 1.0
        if key == min(JOBS):
            data["software"] = {"recgym": "1"}
        run.write_json(path, data)
    with pytest.raises(ConfigError, match=r"shared: got 'first-v1'\. Did you mean 'first-v0'"):
        pack(folder, ["first-v1"])
    with pytest.raises(ConfigError, match="shared: got 'aaa"):
        pack(folder, ["a" * 300])
    assert pack(folder, ["first-v0"]) == len(JOBS)
    shared = json.loads((folder / "suite.json").read_bytes())["shared"]
    assert shared == dict.fromkeys(sorted({*JOBS} - {min(JOBS)}), "first-v0")
    assert [*read_packed(folder)] == [min(JOBS)]
    results = tables.read_folder(folder)
    assert results.missing == []
    assert [results.text(label, results.tasks) for label in results.labels] == [
        whole.text(label, whole.tasks) for label in whole.labels
    ]
    assert run.run_suite(CHOSEN, folder, console=quiet()) == []
    assert json.loads((folder / "suite.json").read_bytes())["shared"] == shared, "a run keeps it"
    assert [v for v in check.submit_check(folder, sample=0) if v.what in ("files", "complete") and not v.ok] == []
    (published / RESULTS).write_bytes(b"")
    (published / CURVES).unlink()
    _, faults = read_results(folder, JOBS, shared)
    assert {*faults} == {*shared}
    assert "shared with the published first-v0, which does not hold it" in faults[max(JOBS)]
    for name in ("../first-v0", "/tmp", "", ".", "first_v0", "First", 3, None, "a" * 101, "a" * 300):
        manifest = json.loads((folder / "suite.json").read_bytes())
        run.write_json(folder / "suite.json", {**manifest, "shared": {min(JOBS): name}})
        with pytest.raises(ConfigError, match="shared must hold names of published folders by keys of entries"):
            tables.read_folder(folder)
        run.write_json(folder / "suite.json", manifest)


def test_the_published_folders_are_packed():
    for manifest in files.PUBLISHED.glob("*/suite.json"):
        names = {path.name for path in manifest.parent.iterdir()}
        assert {"suite.json", RESULTS} <= names
        assert "jobs" not in names
        before = (manifest.parent / RESULTS).read_bytes()
        lines = [packed._line({**r.to_dict(), "curve": len(r.curve)}) for r in read_packed(manifest.parent).values()]
        assert "".join(lines).encode() == before, "in the form that pack writes"
