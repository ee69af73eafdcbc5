"""Readers of rows against their definitions, and the networks that hold them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from baselines import Task
from baselines.encoders import ENCODERS, CandidateHead, Encoder, TorchAgent, encoder_of, head_of, narrow
from recgym import ConfigError

ROWS, COLUMNS, WIDTH = 6, 5, 8
SHOP = Task("recgym/Ecommerce-v0")


def reader_of(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ENCODERS[name](ROWS, COLUMNS, WIDTH)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ENCODERS)
def test_what_is_not_there_does_not_matter(name: str) -> None:
    reader, rows = reader_of(name), draw(4, ROWS, COLUMNS)
    there = torch.tensor(
        [[1, 1, 1, 0, 0, 0], [0, 1, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]], dtype=torch.bool
    )
    read = reader(rows, there)
    assert read.shape == (4, WIDTH)
    junk = torch.where(there[:, :, None], rows, draw(4, ROWS, COLUMNS, seed=1))
    torch.testing.assert_close(reader(junk, there), read, rtol=1e-5, atol=1e-6)
    assert (read[3] == 0).all()
    assert read[:3].abs().amax(dim=1).min() > 1e-3
    changed = rows.clone()
    changed[:, 1] += 1.0
    moved = (reader(changed, there) - read).abs().amax(dim=1) > 1e-4
    assert moved.tolist() == [True, True, True, False]
    for b in range(4):  # a batch is its rows
        torch.testing.assert_close(reader(rows[b : b + 1], there[b : b + 1])[0], read[b], rtol=1e-4, atol=1e-5)
    (read * draw(4, WIDTH)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in reader.parameters())


@pytest.mark.parametrize("name", ENCODERS)
def test_only_the_mean_does_not_mind_the_order(name: str) -> None:
    reader, rows = reader_of(name), draw(3, ROWS, COLUMNS)
    there = torch.ones(3, ROWS, dtype=torch.bool)
    same = torch.allclose(reader(rows, there), reader(rows.flip(1), there), rtol=1e-4, atol=1e-5)
    assert same == (name == "mean")


def test_mean_and_gru_by_hand() -> None:
    """Row by row, for users with gaps in what is there."""
    rows, there = draw(7, ROWS, COLUMNS), draw(7, ROWS, seed=2) > 0
    mean, gru = reader_of("mean"), reader_of("gru")
    cell = nn.GRUCell(COLUMNS, WIDTH)
    cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in gru.layer.state_dict().items()})
    for b in range(7):
        state, total, n = torch.zeros(1, WIDTH), torch.zeros(WIDTH), int(there[b].sum())
        for r in reversed(range(ROWS)):  # the first row is the latest
            if there[b, r]:
                state = cell(rows[b, r : r + 1], state)
                total = total + torch.relu(mean.weight @ rows[b, r] + mean.bias)
        torch.testing.assert_close(gru(rows, there)[b], state[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(mean(rows, there)[b], total / max(n, 1), rtol=1e-4, atol=1e-5)


def test_the_cnn_sees_neighbours_only() -> None:
    """Rows far apart do not meet in the convolutions, so that the maximum is that of the two groups."""
    reader = ENCODERS["cnn"](12, COLUMNS, WIDTH)
    near, far = torch.zeros(1, 12, COLUMNS), torch.zeros(1, 12, COLUMNS)
    near[:, 1:3], far[:, 9:11] = draw(1, 2, COLUMNS), draw(1, 2, COLUMNS, seed=1)
    there = [(rows != 0).any(dim=2) for rows in (near, far, near + far)]
    alone = torch.maximum(reader(near, there[0]), reader(far, there[1]))
    torch.testing.assert_close(reader(near + far, there[2]), alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "mean"])
def test_learns_what_depends_on_the_order(name: str) -> None:
    """Whether the latest row is larger than the one before it, which no mean can tell."""
    torch.manual_seed(0)
    width = 16
    reader, layer = ENCODERS[name](ROWS, 2, width), nn.Linear(width, 1)
    adam = torch.optim.Adam([*reader.parameters(), *layer.parameters()], lr=1e-2)
    there = torch.ones(256, ROWS, dtype=torch.bool)
    there[:, 4:] = False
    for step in range(300):
        rows = draw(256, ROWS, 2, seed=step)
        if name == "cnn":  # it does not know places but by the edge, and takes the maximum over them
            rows[:, 2:] = 0
        goal = (rows[:, 0, 0] > rows[:, 1, 0]).float()
        loss = nn.functional.binary_cross_entropy_with_logits(layer(reader(rows, there))[:, 0], goal)
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss < 0.3, loss  # a coin has 0.69


@pytest.mark.parametrize("name", ENCODERS)
def test_heads_read_the_history_with_it(name: str) -> None:
    env = SHOP.make(6)
    observation = torch.from_numpy(env.reset(seed=7)[0].copy())
    head = CandidateHead(**head_of(env.observation_layout, env.actions.n, 16, history=name))
    block = env.observation_layout["history"]
    observation[:, block.slice] = 0.0
    empty = head(observation)
    observation[:, block.slice].unflatten(1, block.shape)[:, :2] = draw(6, 2, block.shape[1])
    assert (head(observation) - empty).abs().amax(dim=1).min() > 1e-5
    places = observation[:, block.slice].unflatten(1, block.shape)
    swapped = observation.clone()
    swapped[:, block.slice].unflatten(1, block.shape)[:, :2] = places[:, [1, 0]]
    same = torch.allclose(head(swapped), head(observation), rtol=1e-5, atol=1e-7)
    assert same == (name == "mean")


def test_the_default_head_is_what_it_was() -> None:
    """Names of its weights, which files hold, and its formula written out."""
    env = SHOP.make(6)
    observation = torch.from_numpy(env.reset(seed=7)[0].copy())
    layout = env.observation_layout
    torch.manual_seed(0)
    head = CandidateHead(**head_of(env.observation_layout, env.actions.n, 16))
    w = head.state_dict()
    layers = ("reader", "context.0", "context.2", "item", "shift", "left", "right", "cross", "advantage.1", "advantage.3",
              "value.0", "value.2")  # fmt: skip
    no_bias = {"shift.bias", "cross.bias"}
    assert list(w) == [
        f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias") if f"{layer}.{kind}" not in no_bias
    ]

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", torch.zeros(()))

    relu = torch.relu
    history = draw(6, *layout["history"].shape)
    history[:, 3:] = 0.0
    observation[:, layout["history"].slice] = history.flatten(1)
    read = relu(linear("reader", history[:, :3])).mean(dim=1)
    u = relu(linear("context.2", relu(linear("context.0", torch.cat([observation[:, layout["user"].slice], read], 1)))))
    x = observation[:, layout["candidates"].slice].unflatten(1, layout["candidates"].shape)
    match = linear("cross", linear("left", x) * linear("right", u)[:, None])
    hidden = relu(linear("advantage.1", relu(linear("item", x) + linear("shift", u)[:, None] + match)))
    a = linear("advantage.3", hidden)[:, :, 0]
    v = linear("value.2", relu(linear("value.0", u)))
    torch.testing.assert_close(head(observation), v + a - a.mean(dim=1, keepdim=True), rtol=1e-4, atol=1e-5)


def test_several_outputs_are_several_heads() -> None:
    """One output is what the head of one output with its weights gives."""
    env = Task("recgym/LiveStream-v0", {"null_action": True}).make(6)
    observation = torch.from_numpy(env.reset(seed=7)[0].copy())
    observation[0, env.observation_layout["mask"].slice.start] = 0.0
    arguments = head_of(env.observation_layout, env.actions.n, 16, outputs=3)
    many, one = CandidateHead(**arguments), CandidateHead(**{**arguments, "outputs": 1})
    values = many(observation)
    assert values.shape == (6, 3, env.actions.n)
    last = ("advantage.3", "value.2", "nothing.2")
    for k in range(3):
        own = {name: w[k : k + 1] if name.startswith(last) else w for name, w in many.state_dict().items()}
        one.load_state_dict(own)
        torch.testing.assert_close(one(observation), values[:, k], rtol=1e-4, atol=1e-5)


def test_encoders_of_observations() -> None:
    env = SHOP.make(6)
    observation = torch.from_numpy(env.reset(seed=7)[0].copy())
    layout = env.observation_layout
    order = torch.from_numpy(np.random.default_rng(0).permutation(layout["candidates"].shape[0]))
    block = layout["candidates"]
    permuted = observation.clone()
    permuted[:, block.slice] = observation[:, block.slice].unflatten(1, block.shape)[:, order].flatten(1)
    user = layout["user"].slice.stop
    for items in ENCODERS:
        encoder = Encoder(**encoder_of(env, 16, items=items))
        read = encoder(observation)
        assert read.shape == (6, encoder.width) == (6, user + 32)
        torch.testing.assert_close(read[:, :user], observation[:, :user], rtol=0, atol=0)
        same = torch.allclose(read, encoder(permuted), rtol=1e-4, atol=1e-5)
        assert same == (items == "mean")
    compact = Task(SHOP.id, {"observation": "compact"}).make(6)
    encoder = Encoder(**encoder_of(compact, 16, history="gru"))
    assert encoder(torch.from_numpy(compact.reset(seed=7)[0])).shape == (6, encoder.width)
    assert encoder.width == compact.observation_layout["user"].slice.stop + 16  # the user block has the profile here


def test_says_what_is_wrong(tmp_path) -> None:
    env = SHOP.make(2)
    with pytest.raises(ConfigError, match="transformer"):
        CandidateHead(**head_of(env.observation_layout, env.actions.n, history="transfomer"))
    with pytest.raises(ConfigError, match="gru"):
        Encoder(**encoder_of(env, items="gruu"))
    with pytest.raises(ConfigError, match="candidates"):
        head_of(Task(SHOP.id, {"observation": "compact"}).make(2).observation_layout, 20)


@pytest.mark.parametrize("null", [0, 2])
def test_fewer_candidates_have_the_values_they_had_among_all(null: int) -> None:
    env = SHOP.make(3)
    observation, _ = env.reset(seed=1)
    head = CandidateHead(**{**head_of(env.observation_layout, env.actions.n, dueling=False), "null": null})
    rows = np.array([[4, 0, 19], [1, 2, 3], [7, -1, 8]])
    with torch.no_grad():
        every = head(torch.from_numpy(observation)).numpy()
        some = head(torch.from_numpy(narrow(observation, rows, env.observation_layout))).numpy()
    there = np.pad(rows >= 0, ((0, 0), (null, 0)), constant_values=True)
    want = np.concatenate([every[:, :null], np.take_along_axis(every[:, null:], np.maximum(rows, 0), axis=1)], axis=1)
    np.testing.assert_allclose(some[there], want[there], rtol=1e-5)
    latent = Task(SHOP.id, {"observation": "latent"}).make(2)
    with pytest.raises(ConfigError, match="must end with the blocks"):
        narrow(latent.reset(seed=0)[0], rows[:2], latent.observation_layout)


@dataclass
class Still(TorchAgent):
    """Always the first choice."""

    def act(self, observation, mask, explore=False):
        return mask.argmax(axis=1)


def test_weights_come_back_from_a_file(tmp_path):
    agent = Still()
    agent.weights = {"a": torch.ones(2), "b": {"c": torch.zeros(1)}}
    agent.save(tmp_path)
    torch.testing.assert_close(Still.load(tmp_path).weights, agent.weights)
    (tmp_path / "still.pt").unlink()
    with pytest.raises(ConfigError, match=r"still\.pt"):
        Still.load(tmp_path)
