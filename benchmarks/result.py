"""The result of a job: what a run writes, and the one check of results that are read.

A result may be anybody's. Reading takes it as data and refuses what is not of the form with a ConfigError.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.data import LARGEST, is_number, is_text
from benchmarks.suite import FORMAT, TUNING_SEED, Job, key_of
from recgym.errors import ConfigError, require, require_count, require_option

PARTS = ("format", "key", "job", "privileged", "return", "length", "objectives", "objectives_se", "curve", "cost",
         "software", "files")  # fmt: skip
OPTIONAL = ("objectives_se", "files")  # not in results of earlier versions


@dataclass(frozen=True)
class Returns:
    """Returns of the evaluation users' episodes: their mean, its standard error, and the number of users."""

    mean: float
    se: float
    n: int

    def __post_init__(self) -> None:
        _check_numbers("return", asdict(self))
        require(self.se >= 0, "return se", "must not be negative", self.se)
        require_count("return n", self.n, 1, TUNING_SEED)


@dataclass(frozen=True)
class Length:
    """Lengths of the evaluation users' episodes, in steps."""

    mean: float
    median: float

    def __post_init__(self) -> None:
        _check_numbers("length", asdict(self))
        require(self.mean > 0, "length mean", "must be above 0", self.mean)


@dataclass(frozen=True)
class Result:
    """What came of a job.

    Args:
        job: that was run. privileged: whether the agent reads the simulator's hidden state.
        returns, length: of the evaluation. objectives: name -> mean over users of the sum over an episode.
        curve: of learning; a point has "steps" of training and the "return" and "se" there, see `evaluated`.
        cost: seconds by name: "train_seconds", "evaluation_seconds", and "curve_seconds" where the curve took time.
        software: name -> version of what the numbers may depend on.
        files: name -> SHA-256 of agent and world files that no version stands for; None: not recorded.
        objectives_se: name -> standard error of that mean over users; None: not recorded.

    Raises:
        ConfigError: a part is not of the form; the message names it.
    """

    job: Job
    privileged: bool
    returns: Returns
    length: Length
    objectives: dict[str, float]
    curve: list[dict[str, float]]
    cost: dict[str, float]
    software: dict[str, str]
    files: dict[str, str] | None = None
    objectives_se: dict[str, float] | None = None

    def __post_init__(self) -> None:
        require(isinstance(self.privileged, bool), "privileged", "must be true or false", self.privileged)
        _check_numbers("objectives", self.objectives)
        if self.objectives_se is not None:
            _check_numbers("objectives_se", self.objectives_se)
            same = self.objectives_se.keys() == self.objectives.keys()
            require(same, "objectives_se", f"must be of the objectives {[*self.objectives]}", [*self.objectives_se])
            require(
                min(self.objectives_se.values(), default=0) >= 0,
                "objectives_se",
                "must not be negative",
                self.objectives_se,
            )
        _check_numbers("cost", self.cost, ("train_seconds", "evaluation_seconds"))
        require(isinstance(self.curve, list), "curve", "must be a list", type(self.curve).__name__)
        for i, point in enumerate(self.curve):
            _check_numbers(f"curve {i}", point, ("steps",))
        _check_texts("software", self.software)
        _check_texts("files", {} if self.files is None else self.files)

    @property
    def key(self) -> str:
        """Key of the job."""
        return self.job.key

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; equal results give equal ones."""
        data = {
            "format": FORMAT,
            "key": self.key,
            "job": self.job.to_dict(),
            "privileged": self.privileged,
            "return": asdict(self.returns),
            "length": asdict(self.length),
            "objectives": self.objectives,
            "curve": self.curve,
            "cost": self.cost,
            "software": self.software,
        }
        later = {"objectives_se": self.objectives_se, "files": self.files}
        return {**data, **{name: part for name, part in later.items() if part is not None}}

    @classmethod
    def from_dict(cls, data: Any, key: str | None = None) -> Result:
        """The result that `to_dict` wrote.

        Args:
            data: JSON values. key: that its job must have; None: any.

        Raises:
            ConfigError: it is none, or another job's.
        """
        require(isinstance(data, dict), "result", "must be an object", type(data).__name__)
        fits = data.get("format") == FORMAT and isinstance(data.get("job"), dict)
        if not (fits and data.get("key") == key_of(data["job"]) and key in (None, data["key"])):
            raise ConfigError("it belongs to another job or format")
        for name in data:
            require_option("part of a result", name, PARTS)
        for name in PARTS:
            require(name in data or name in OPTIONAL, "result", f"must hold {name!r}", [*data])
        _check_numbers("return", data["return"], ("mean", "se", "n"), alone=True)
        _check_numbers("length", data["length"], ("mean", "median"), alone=True)
        for name in OPTIONAL:
            require(name not in data or data[name] is not None, name, "must not be null", None)
        return cls(Job.from_dict(data["job"]), data["privileged"], Returns(**data["return"]), Length(**data["length"]),
                   data["objectives"], data["curve"], data["cost"], data["software"], data.get("files"),
                   data.get("objectives_se"))  # fmt: skip


def _check_numbers(part: str, found: Any, names: tuple[str, ...] = (), alone: bool = False) -> None:
    """Require numbers by name, some names among them, or those alone."""
    require(isinstance(found, dict), part, "must be numbers by name", type(found).__name__)
    for name in names:
        require(name in found, part, f"must hold {name!r}", list(found))
    for name, value in found.items():
        require(is_text(name) and (not alone or name in names), part, "must have no such name", name)
        require(is_number(value), f"{part} {name}", f"must be a number in [-{LARGEST:g}, {LARGEST:g}]", value)


def _check_texts(part: str, found: Any) -> None:
    fits = isinstance(found, dict) and all(is_text(text) for pair in found.items() for text in pair)
    require(fits, part, "must be texts by name", type(found).__name__)


def evaluated(curve: list[dict[str, float]]) -> bool:
    """Whether a learning curve is of evaluation episodes: mean return and its standard error at some training steps.

    Results of version 0.1 have another kind: the reward per step while training, exploration included.
    """
    return bool(curve) and all(point.keys() == {"steps", "return", "se"} for point in curve)
