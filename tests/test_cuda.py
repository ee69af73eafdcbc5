"""Environments on a GPU, without one: the kernels run in numba's simulator, and compile to PTX.

The cases for the simulator are in `cuda_cases.py`, which runs in processes of their own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import recgym
from recgym import cuda
from recgym.cuda_env import arrival_source, step_source
from recgym.envs import RecVectorEnv
from recgym.errors import ConfigError
from recgym.recording import Program

CASES = Path(__file__).parent / "cuda_cases.py"
# One id of each combination of parts: the eight of SARDINE differ in numbers and in one or two kernels.
IDS = ("EcommerceSlate-v0", "NewsSlate-v0", "LiveStreamSlate-v0", "InterestEvolution-v0", "InterestExploration-v0",
       "LongTermSatisfaction-v0", "Sardine-SlateTopK-BoredInf-v0", "RecoGym-v1")  # fmt: skip


@pytest.mark.parametrize("which", ["every_id", "not every_id"], ids=["ids", "rest"])
def test_in_the_simulator(which: str) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "-W",
        "ignore",
        "-k",
        which,
        str(CASES),
    ]
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=CASES.parent.parent)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"\d+ passed", done.stdout)


def test_the_script_of_the_measurement_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.gpu", str(tmp_path / "gpu.json"), "--smoke"]
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=CASES.parent.parent)
    assert done.returncode == 0, done.stderr[-3000:]
    measured = json.loads((tmp_path / "gpu.json").read_text())
    assert set(measured) == {"machine", "speed", "agreement", "returns", "learning"}
    assert measured["machine"]["gpu"] == "numba's simulator"
    assert measured["speed"][0]["user_steps_per_second"] > 0
    assert measured["agreement"][0]["same_first_slates"]
    assert measured["agreement"][0]["parted"] == 0
    assert measured["agreement"][0]["worst"] < 1e-4
    assert [one["device"] for one in measured["learning"]] == ["cuda", "cpu"]
    described = re.findall(r'"(\w+)": ', __import__("benchmarks.gpu", fromlist=["gpu"]).__doc__)
    for part in ("speed", "agreement", "returns", "learning"):
        assert part in described


def sources(id: str, mode: AutoresetMode = AutoresetMode.SAME_STEP) -> tuple[cuda.Source, cuda.Source]:
    """The step of an id, and the arrival of its users, as CUDA kernels."""
    env = gym.make_vec(f"recgym/{id}", num_envs=1).unwrapped
    assert isinstance(env, RecVectorEnv)
    step = Program(env.stepper.plain, env.stepper.example)
    return step_source(step), arrival_source(env.stepper, step, mode)


def assemble(text: str) -> None:
    """PTX becomes machine code of a device that need not be there."""
    from cuda.bindings import nvjitlink

    options, code = ["-arch=sm_90"], text.encode() + b"\0"
    linker = nvjitlink.create(len(options), options)
    nvjitlink.add_data(linker, nvjitlink.InputType.PTX, code, len(code), "step")
    nvjitlink.complete(linker)  # raises where it cannot
    assert nvjitlink.get_linked_cubin_size(linker) > 10_000
    nvjitlink.destroy(linker)


@pytest.mark.skipif(not find_spec("numba_cuda"), reason='needs numba-cuda: pip install "recgym[cuda]"')
@pytest.mark.parametrize("id", IDS)
def test_compiles_to_ptx(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.cuda import types

    here = SimpleNamespace(compute_capability=(9, 0))
    monkeypatch.setattr("numba.cuda.dispatcher.get_current_device", lambda: here)
    for source in sources(id):
        taken = [types.int64, *[types.Array(types.uint8, 1, "C")] * len(source.taken)]
        text, _ = cuda.load().compile(
            source.kernel().py_func, tuple(taken), device=False, cc=(9, 0), abi="numba", launch_bounds=(128, 4)
        )
        assert ".target sm_90" in text
        assert text.count(".entry") == 1
        assert not re.search(r"\.func[^(]*\([^)]*\)[^(]*recgym", text), "all kernels are inlined"
        parameters = re.search(r"\.entry[^(]*\((.*?)\)", text, re.DOTALL)
        assert parameters is not None
        assert parameters[1].count(".param") * 8 <= 4096
        assemble(text)


def test_constants_lie_where_the_source_says() -> None:
    source, _ = sources("NewsSlate-v0")
    recorded = source.program
    arrays = {f"constant_{i}": array for i, array in enumerate(recorded.constants)}
    for name, array in (*arrays.items(), ("reals", recorded.numbers[0]), ("integers", recorded.numbers[1])):
        found = re.search(rf"^    {name} = view\(constants, (\d+), ", source.text, re.MULTILINE)
        if found is None:
            assert name not in source.text.replace(f"{name}0", "")
            continue
        view = np.ndarray(array.shape, array.dtype, source.constants, int(found[1]))
        np.testing.assert_array_equal(view, array)


def test_columns_of_a_buffer_lie_users_last() -> None:
    where = cuda.column("after", 12, np.dtype(np.float32), (10, 3))
    assert str(where) == "view(after, users * 12 + b * 4, (1, 10, 3,), users * 4, np.float32)"
    users, b = 5, 3
    buffer = np.arange(users * (12 + 4 * 30), dtype=np.uint8)
    content = np.ndarray((10, 3, users), np.float32, buffer, users * 12)
    view = cuda._simulated_view(buffer, users * 12 + b * 4, (1, 10, 3), users * 4, np.float32)
    np.testing.assert_array_equal(view[0], content[:, :, b])


@pytest.mark.parametrize(
    ("installed", "what"), [(False, r"pip install .recgym\[cuda\]"), (True, "no CUDA device was found")]
)
def test_what_is_missing_is_said(installed: bool, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "find_spec", lambda _: object() if installed else None)
    nothing: Any = SimpleNamespace(is_available=lambda: False)
    monkeypatch.setattr(cuda, "load", lambda: nothing)
    with pytest.raises(ConfigError, match=what):
        RecVectorEnv("ecommerce", 2, device="cuda")


def test_a_device_is_cpu_or_cuda() -> None:
    with pytest.raises(ConfigError, match="device: got 'gpu'"):
        RecVectorEnv("ecommerce", 2, device="gpu")
    assert recgym.RecVectorEnv("ecommerce", 2, device="cpu").num_envs == 2
