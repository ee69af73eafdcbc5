"""Networks over observations, and what agents that learn with torch share."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.agent import Agent
from recgym.envs import RecVectorEnv
from recgym.errors import ConfigError, require, require_option
from recgym.files import check_archive
from recgym.observations import Block, Layout

MAX_WIDTH = 4096  # units per layer
MAX_THREADS = 1024


class Mean(nn.Linear):
    """Mean of relu(W row) over the rows that are there, in any order (Zaheer et al., "Deep sets", NeurIPS 2017).

    Like all readers it takes rows (B, n, columns) float32 and which of them are there (B, n) bool, and returns
    (B, width). The numbers in a row that is not there do not matter; without any row, the result is zeros.

    Args:
        rows, columns: shape of what is read. width: units of the result.
    """

    def __init__(self, rows: int, columns: int, width: int) -> None:
        super().__init__(columns, width)

    def forward(self, rows: Tensor, there: Tensor) -> Tensor:  # type: ignore[override]
        """(B, n, columns), (B, n) -> (B, width)."""
        return _mean(torch.relu(super().forward(rows)), there)


class MLP(nn.Module):
    """Two layers over all rows side by side: each row has weights of its own."""

    def __init__(self, rows: int, columns: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(rows * columns, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())

    def forward(self, rows: Tensor, there: Tensor) -> Tensor:
        """(B, n, columns), (B, n) -> (B, width)."""
        return self.layers((rows * there[:, :, None]).flatten(1)) * there.any(dim=1, keepdim=True)


class GRU(nn.Module):
    """A gated recurrent unit that goes from the last row, the oldest, to the first (Hidasi et al., ICLR 2016)."""

    def __init__(self, rows: int, columns: int, width: int) -> None:
        super().__init__()
        self.layer = nn.GRU(columns, width, batch_first=True)

    def forward(self, rows: Tensor, there: Tensor) -> Tensor:
        """(B, n, columns), (B, n) -> (B, width)."""
        # The rows that are there come first, the oldest of them in front: the state after the last one is the result.
        order = torch.argsort((~there).flip(1).to(torch.uint8), dim=1, stable=True)
        read, _ = self.layer(rows.flip(1).gather(1, order[:, :, None].expand_as(rows)))
        last = (there.sum(dim=1) - 1).clamp(min=0)[:, None, None].expand(-1, 1, read.shape[2])
        return read.gather(1, last)[:, 0] * there.any(dim=1, keepdim=True)


class CNN(nn.Module):
    """Two convolutions over three neighbouring rows, then the maximum over rows (after Tang and Wang, WSDM 2018)."""

    def __init__(self, rows: int, columns: int, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(columns, width, 3, padding=1), nn.Conv1d(width, width, 3, padding=1)

    def forward(self, rows: Tensor, there: Tensor) -> Tensor:
        """(B, n, columns), (B, n) -> (B, width)."""
        taken = there[:, None]
        x = torch.relu(self.first(rows.transpose(1, 2) * taken)) * taken
        return (torch.relu(self.second(x)) * taken).amax(dim=2)


class Transformer(nn.Module):
    """Self-attention in both directions with learned positions, then the mean (after Kang and McAuley, ICDM 2018)."""

    def __init__(self, rows: int, columns: int, width: int) -> None:
        super().__init__()
        self.row, self.position = nn.Linear(columns, width), nn.Parameter(0.02 * torch.randn(rows, width))
        heads = next(n for n in (4, 2, 1) if width % n == 0)
        self.layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True)

    def forward(self, rows: Tensor, there: Tensor) -> Tensor:
        """(B, n, columns), (B, n) -> (B, width)."""
        ignored = ~there & there.any(dim=1, keepdim=True)  # attention to nothing at all would be NaN
        return _mean(self.layer(self.row(rows) + self.position, src_key_padding_mask=ignored), there)


def _mean(x: Tensor, there: Tensor) -> Tensor:
    taken = there[:, :, None]
    return (x * taken).sum(dim=1) / taken.sum(dim=1).clamp(min=1)


ENCODERS: dict[str, Callable[..., nn.Module]] = {  # of (rows, columns, width)
    "mean": Mean,
    "mlp": MLP,
    "gru": GRU,
    "cnn": CNN,
    "transformer": Transformer,
}


def read_block(reader: nn.Module, observation: Tensor, block: tuple[int, ...]) -> Tensor:
    """(B, width) what a reader makes of a block (start, stop, rows, columns) of observations; rows of zeros are empty."""
    start, stop, *shape = block
    rows = observation[:, start:stop].unflatten(1, shape)
    return reader(rows, (rows != 0).any(dim=2))


class Encoder(nn.Module):
    """Features of flat observations: the user block, the history and the candidates, each as its reader reads it.

    Args:
        user: (start, stop) of the block of the observation. history, candidates: (start, stop, rows, columns); rows of
            zeros are empty and ignored. `candidates` is None where the observation shows none.
        reader, items: names in `ENCODERS` of the readers of history and candidates. With "mean" the order of candidates
            does not matter; the others can tell by it which candidate is which.
        width: units per reader.
    """

    def __init__(
        self,
        user: tuple[int, int],
        history: tuple[int, ...],
        candidates: tuple[int, ...] | None,
        reader: str,
        items: str,
        width: int,
    ) -> None:
        super().__init__()
        require_option("history", reader, ENCODERS)
        require_option("items", items, ENCODERS)
        self.user, self.history, self.candidates = slice(*user), history, candidates
        self.reader = ENCODERS[reader](*history[2:], width)
        self.item = ENCODERS[items](*candidates[2:], width) if candidates else None
        self.width = user[1] - user[0] + (1 + (self.item is not None)) * width

    def forward(self, observation: Tensor) -> Tensor:
        """(B, width of the observation) -> (B, `width` of the encoder)."""
        parts = [observation[:, self.user], read_block(self.reader, observation, self.history)]
        if self.item is not None and self.candidates:
            parts.append(read_block(self.item, observation, self.candidates))
        return torch.cat(parts, dim=1)


class CandidateHead(nn.Module):
    """Values of candidates from flat observations, by one network for all of them.

        u   = two layers of [user block, what the reader makes of the history]
        a_k = two layers of relu(A x_k + B u + C (D x_k * E u)), x_k the features of candidate k
        Q_k = v(u) + a_k - mean of a over all that can be chosen        (dueling: Wang et al., ICML 2016)

    Permuted candidates have permuted values (Zaheer et al., "Deep sets", NeurIPS 2017). Recommending nothing has an
    advantage of its own, a function of u. An empty candidate is worth 1 less than the worst choice: it is never the best,
    and where a random action chose one, its loss stays bounded.

    Args:
        user, mask: (start, stop) of the blocks of the observation.
        history, candidates: (start, stop, rows, columns).
        null: how many choices, the first ones, show no candidate.
        width: units per layer. dueling: whether v(u) is a term of its own; if not, Q_k = a_k.
        reader: name in `ENCODERS` of the reader of the history.
        outputs: numbers per choice, such as quantiles of its return; each is a Q_k of its own.
    """

    def __init__(
        self,
        user: tuple[int, int],
        history: tuple[int, ...],
        candidates: tuple[int, ...],
        mask: tuple[int, int],
        null: int,
        width: int,
        dueling: bool,
        reader: str = "mean",
        outputs: int = 1,
    ) -> None:
        super().__init__()
        require_option("history", reader, ENCODERS)
        self.user, self.mask = slice(*user), slice(*mask)
        self.history, self.outputs = history, outputs
        self.candidates, self.items = slice(*candidates[:2]), candidates[2:]
        rank = max(width // 2, 1)
        self.reader = ENCODERS[reader](*history[2:], width)
        first = nn.Linear(user[1] - user[0] + width, width)
        self.context = nn.Sequential(first, nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.item, self.shift = nn.Linear(candidates[3], width), nn.Linear(width, width, bias=False)
        self.left, self.right = nn.Linear(candidates[3], rank), nn.Linear(width, rank)
        self.cross = nn.Linear(rank, width, bias=False)
        self.advantage = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))
        self.value = _two_layers(width, outputs) if dueling else None
        self.nothing = _two_layers(width, null * outputs) if null else None

    def forward(self, observation: Tensor) -> Tensor:
        """(B, width of the observation) -> (B, choices); (B, outputs, choices) where there are several outputs.

        Observations may have fewer candidates than the env, as `narrow` makes them.
        """
        read = read_block(self.reader, observation, self.history)
        u = self.context(torch.cat([observation[:, self.user], read], dim=1))
        start, end, columns = self.candidates.start, self.candidates.stop, self.items[1]
        mask = observation[:, self.mask, None] > 0.5
        if observation.shape[1] < self.mask.stop:  # see `narrow`
            end = start + (observation.shape[1] - start) // (columns + 1) * columns
            mask = observation[:, end:, None] > 0.5
        x = observation[:, start:end].unflatten(1, (-1, columns))
        match = self.cross(self.left(x) * self.right(u)[:, None])
        q = self.advantage(self.item(x) + self.shift(u)[:, None] + match)
        if self.nothing is not None:
            q = torch.cat([self.nothing(u).unflatten(1, (-1, self.outputs)), q], dim=1)
            mask = nn.functional.pad(mask, (0, 0, q.shape[1] - mask.shape[1], 0), value=True)
        if self.value is not None:
            mean = (q * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)
            q = self.value(u)[:, None] + q - mean
        worst = q.detach().masked_fill(~mask, torch.inf).amin(dim=1, keepdim=True)
        q = torch.where(mask, q, torch.where(mask.any(dim=1, keepdim=True), worst - 1, 0.0))
        return q[:, :, 0] if self.outputs == 1 else q.transpose(1, 2)


def narrow(observation: NDArray[np.float32], rows: NDArray[Any], layout: dict[str, Block]) -> NDArray[np.float32]:
    """Flat observations (B, width) reduced to the candidates (B, m) whose rows are given; -1 gives an empty one.

    Raises:
        ConfigError: candidates and mask are not the last blocks of the layout.
    """
    candidates, mask = layout["candidates"], layout["mask"]
    last = mask.slice.stop == observation.shape[1] and candidates.slice.stop == mask.slice.start
    require(last, "observation", "must end with the blocks candidates and mask", [*layout])
    at = np.maximum(rows, 0)
    there = np.take_along_axis(observation[:, mask.slice], at, axis=1) * (rows >= 0)
    x = np.take_along_axis(observation[:, candidates.slice].reshape(-1, *candidates.shape), at[:, :, None], axis=1)
    shown = (x * there[:, :, None]).reshape(len(x), -1)
    return np.concatenate([observation[:, : candidates.slice.start], shown, there], axis=1)


def _two_layers(width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))


def head_of(
    layout: Layout, choices: int, width: int = 32, dueling: bool = True, history: str = "mean", outputs: int = 1
) -> dict[str, Any]:
    """Arguments of a `CandidateHead`, as plain numbers and names.

    Args:
        layout: blocks of the head's input, such as ``env.observation_layout``. choices: per position, ``env.actions.n``: the
            candidates, after the choice of nothing where there is one. Others: see `CandidateHead`.

    Raises:
        ConfigError: observations show no candidates.
    """
    head: dict[str, Any] = {name: (layout[name].slice.start, layout[name].slice.stop) for name in ("user", "mask")}
    for name in ("history", "candidates"):
        head[name] = (layout[name].slice.start, layout[name].slice.stop, *layout[name].shape)
    null = choices - layout["mask"].shape[0]
    return {**head, "null": null, "width": width, "dueling": dueling, "reader": history, "outputs": outputs}


def encoder_of(env: RecVectorEnv, width: int = 32, history: str = "mean", items: str = "mean") -> dict[str, Any]:
    """Arguments of the `Encoder` of an env with flat observations, as plain numbers and names."""
    layout = env.observation_layout
    blocks: dict[str, Any] = dict.fromkeys(("user", "history", "candidates"))
    for name in blocks:
        if name in layout:
            block = layout[name]
            blocks[name] = (block.slice.start, block.slice.stop, *(() if name == "user" else block.shape))
    return {**blocks, "reader": history, "items": items, "width": width}


class TorchAgent(Agent):
    """An agent that learns weights of networks, and keeps them in a file, ``<class>.pt``.

    `fit` sets `weights`, and `start` gives them to new networks by `put_weights`.
    """

    weights: dict[str, Any]  # tensors by name, or dicts of them; empty before the first `fit`

    def put_weights(self, weights: dict[str, Tensor], net: nn.Module) -> None:
        """Copy weights, of `net.state_dict()` of a network of the same kind, into a network.

        Raises:
            ConfigError: they are of a network of another shape.
        """
        try:
            net.load_state_dict(weights)
        except (RuntimeError, AttributeError, TypeError) as error:  # the last two: dicts where tensors should be
            rule = f"must have the observations and actions that {type(self).__name__} has learned from"
            raise ConfigError(f"env: {rule}; {error}") from None

    @classmethod
    def _file(cls) -> str:
        return f"{cls.__name__.lower()}.pt"

    def contents(self) -> dict[str, bytes]:
        buffer = io.BytesIO()
        torch.save(self.weights, buffer)
        return {**super().contents(), self._file(): buffer.getvalue()}

    def take(self, read: Callable[[str], bytes]) -> None:
        super().take(read)
        name = self._file()
        content = read(name)
        check_archive(content, "agent folder", name)
        try:
            weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:  # only tensors are unpickled; what is raised on anything else is of many kinds
            reason = str(error).strip().partition("\n")[0][:200]
            raise ConfigError(
                f"agent folder: {name} must hold tensors alone: {type(error).__name__}: {reason}"
            ) from None
        check_weights(weights, name)
        self.weights = weights


def check_weights(weights: Any, where: str) -> None:
    """Require tensors by name, or dicts of them by name, all dense and finite; `where` is their name in messages.

    Raises:
        ConfigError: something else is there.
    """
    named = isinstance(weights, dict) and all(isinstance(name, str) for name in weights)
    require(named, where, "must hold tensors by name", type(weights).__name__)
    for name, value in weights.items():
        if isinstance(value, dict):
            check_weights(value, f"{where}, {name}")
            continue
        dense = (
            isinstance(value, Tensor)
            and value.layout == torch.strided
            and not value.is_quantized
            and value.device.type == "cpu"
        )
        require(dense, f"{where}, {name}", "must be a dense tensor", type(value).__name__)
        plain = value.dtype in (torch.float32, torch.float64, torch.int64, torch.bool)
        require(plain, f"{where}, {name}", "must hold float32, float64, int64 or booleans", str(value.dtype))
        require(bool(torch.isfinite(value).all()), f"{where}, {name}", "must be finite", "NaN or inf")


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """A context in which torch has so many threads; 0 leaves their number as it is."""
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def torch_seed(seed: int, device: str = "cpu") -> Iterator[None]:
    """A context in which torch draws from a seed; after it, torch's own generators go on where they were before."""
    cuda = torch.device(device)
    devices = [torch.cuda.current_device() if cuda.index is None else cuda.index] if cuda.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
