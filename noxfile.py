"""Environments in which recgym is tried: one for each client library, whose pins clash, and one for each set of
versions.

    nox -s clients                   # every client of examples/clients, one environment after the other
    nox -s clients-tianshou          # one of them; `-- --steps 2000` trains less, and writes no result
    nox -s contract                  # the floor of pyproject.toml, the newest versions, and what lies between
    nox -s table                     # docs/clients.md from the results of all of these

Environments stay in .nox: `-R` uses them again. What is not on this machine, such as a version of Python, is skipped
with a warning.
"""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False  # skipped with a warning, also where CI is set
nox.options.sessions = ["clients"]

TORCH = "torch>=2.13,<2.14"  # as the extra "agents" of pyproject.toml has it
CLIENTS = {  # what each needs beside recgym; no upper bounds of ours, so that a scheduled run finds what breaks
    "sb3": [TORCH, "stable-baselines3>=2.9", "sb3-contrib>=2.9"],
    "cleanrl": [TORCH],
    "rllib": [TORCH, "ray[rllib]>=2.60"],
    "tianshou": [TORCH, "tianshou>=2"],
    "torchrl": [TORCH, "torchrl>=0.14"],
    "skrl": [TORCH, "skrl>=2.1"],
    "agilerl": [TORCH, "agilerl>=2.58", "peft"],  # which it imports without requiring it
    "morl-baselines": [TORCH, "morl-baselines>=1.3", "mo-gymnasium>=1.3.2"],
    "minari": [
        TORCH,
        "minari[create,hdf5]>=0.5.3",
        "pillow>=11",
    ],  # its HDF5 storage imports pillow without requiring it
    "d3rlpy": [TORCH, "d3rlpy>=2.8.1"],  # pins gymnasium==1.0.0, our floor
}


def _client(name: str) -> None:
    @nox.session(name=f"clients-{name}", python="3.11")
    def run(session: nox.Session) -> None:
        session.install(*CLIENTS[name], "-e", ".")
        session.run("python", "examples/clients/run.py", name, *session.posargs)

    run.__doc__ = f"The examples of {name}, trained and compared with random."


for name in CLIENTS:
    _client(name)


@nox.session(python=False)
def clients(session: nox.Session) -> None:
    """All clients, one after the other."""
    for name in CLIENTS:
        session.notify(f"clients-{name}", session.posargs)


CONTRACT = {  # name -> Python, versions; "newest" is what pip takes
    "floor": ("3.11", ["gymnasium==1.0.0", "numpy==2.0.*", "numba==0.61.*"]),  # that of pyproject.toml
    "gymnasium-1.1": ("3.11", ["gymnasium==1.1.*"]),
    "newest": ("3.11", []),
    "python-3.12": ("3.12", []),
    "python-3.13": ("3.13", []),
    "python-3.14": ("3.14", []),
}


def _contract(name: str) -> None:
    python, versions = CONTRACT[name]

    @nox.session(name=f"contract-{name}", python=python)
    def run(session: nox.Session) -> None:
        session.install(*versions, "matplotlib>=3.10.7", "pytest>=8", "pytest-xdist>=3.6", "-e", ".")
        session.run("python", "tests/contract.py", name)

    run.__doc__ = f"The tests of what every environment promises: {', '.join(versions) or 'newest versions'}."


for name in CONTRACT:
    _contract(name)


@nox.session(python=False)
def contract(session: nox.Session) -> None:
    """All of these."""
    for name in CONTRACT:
        session.notify(f"contract-{name}")


@nox.session(python=False)
def table(session: nox.Session) -> None:
    """Write docs/clients.md from the results; recgym must be installed where nox runs."""
    session.run("python", "examples/clients/table.py")
