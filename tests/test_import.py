"""What `import recgym` loads, and what it offers."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import recgym

HEAVY = ("torch", "numba", "stable_baselines3", "sb3_contrib", "pandas", "scipy", "matplotlib", "PIL")


def modules_after(code: str) -> set[str]:
    """Names in sys.modules of a fresh interpreter after some code."""
    script = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_loads_gymnasium_and_numpy_only() -> None:
    loaded, base = modules_after("import recgym"), modules_after("import gymnasium")
    assert not loaded & set(HEAVY) - base
    ours = {name for name in loaded if name.startswith("recgym")}
    assert ours == {"recgym", "recgym.errors", "recgym.registry"}
    third_party = {name.partition(".")[0] for name in loaded - base}
    assert third_party <= {"recgym", "importlib", "__future__"} | set(sys.stdlib_module_names)


def test_an_environment_loads_numba_but_neither_torch_nor_sb3() -> None:
    loaded = modules_after("import gymnasium, recgym\ne = gymnasium.make('recgym/News-v0')\ne.reset(seed=0)\ne.step(0)")
    assert "numba" in loaded
    assert not loaded & {"torch", "stable_baselines3", "pandas", "matplotlib"}


def test_testing_needs_no_pytest() -> None:
    assert "pytest" not in modules_after("import recgym.testing")


@pytest.mark.parametrize("name", recgym.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(recgym, name) is not None
    assert name in dir(recgym)


@pytest.mark.parametrize("first", ["recgym.noise", "recgym.world", "recgym.envs", "recgym.testing"])
def test_public_names_mean_the_same_whatever_was_imported_before(first: str) -> None:
    """A function that bears the name of its module is hidden by the module once that is imported."""
    code = (
        f"import {first}, recgym, types\n"
        "bad = [n for n in recgym.__all__ if isinstance(getattr(recgym, n), types.ModuleType)]\n"
        "assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr.splitlines()[-1]


def test_names_come_from_where_they_are_defined() -> None:
    for name, module in recgym._WHERE.items():
        assert getattr(recgym, name) is getattr(importlib.import_module(f"recgym.{module}"), name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Wrold'"):
        _ = recgym.Wrold  # type: ignore[attr-defined]


def test_the_version_is_the_packages() -> None:
    from importlib.metadata import version

    assert recgym.__version__ == version("recgym")


def test_no_module_imports_itself_in_a_circle() -> None:
    """By the imports at the top of modules; a name that is registered as text is no import."""
    root = Path(__file__).parents[1]
    files = [file for package in ("recgym", "baselines", "benchmarks") for file in (root / package).rglob("*.py")]
    names = {".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file for file in files}
    imports: dict[str, set[str]] = {}
    for name, file in names.items():
        found = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ImportFrom) and node.module]
        paths = [(f"{node.module}.{one.name}", str(node.module)) for node in found for one in node.names]
        imports[name] = {module if module in names else package for module, package in paths} & {*names} - {
            name,
            "recgym",
        }
    order: list[str] = []
    while len(order) < len(imports):
        free = sorted(name for name in imports if name not in order and imports[name] <= {*order})
        assert free, f"in a circle: {sorted(name for name in imports if name not in order)}"
        order += free
