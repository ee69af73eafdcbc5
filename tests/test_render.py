"""Rendering: what the text says is what the environment did, and the picture shows it without a blot."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import combinations, pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import recgym
import recgym.render.picture as drawing
from recgym import Catalog, ConfigError, World
from recgym.envs import RecVectorEnv
from recgym.market import StaticMarket
from recgym.models.candidates import All
from recgym.models.choice import MultinomialLogit
from recgym.models.departure import Never
from recgym.models.preference import DotProduct
from recgym.models.response import Clicks
from recgym.models.reward import Weighted
from recgym.population import TopicMixture
from recgym.render import Frame, Reasons, render


def play(name: str, mode: str, steps: int, seed: int = 0, **options: Any) -> Any:
    """An env after some random steps, or fewer where the episode ends."""
    env = gym.make(name, render_mode=mode, disable_env_checker=True, **options).unwrapped
    env.reset(seed=seed)
    env.action_space.seed(seed)
    for _ in range(steps):
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            break
    return env


def read(text: str) -> tuple[list[dict[str, str]], dict[str, str]]:
    """The table of a text, cut at the right ends of its headings, and the lines below by their first word."""
    lines = text.splitlines()
    head = next(k for k, line in enumerate(lines) if line.lstrip().startswith("#"))
    names = lines[head].split()
    ends = [lines[head].index(f" {name}" if k else name) + len(name) + (k > 0) for k, name in enumerate(names)]
    starts = [0, *ends[:-2], lines[head].index(" user")]
    rows, k = [], head + 1
    while k < len(lines) and re.match(r" *\d+ ", lines[k]):
        bounds = [*zip(starts, ends[:-1], strict=False), (starts[-1], None)]
        rows.append({name: lines[k][a:b].strip() for name, (a, b) in zip(names, bounds, strict=True)})
        k += 1
    return rows, dict((*line.split(maxsplit=1), "")[:2] for line in lines[k:])


def number(text: str) -> float:
    return float(text.split()[0])


@pytest.mark.parametrize("name", recgym.ENV_IDS)
def test_text_says_what_happened(name: str) -> None:
    env = play(name, "ansi", 0, seed=3)
    text = env.render()
    assert isinstance(text, str)
    assert "No step yet" in text
    assert f"{len(env.world.catalog):,} items" in text
    env.action_space.seed(0)
    total, done = 0.0, False
    while not done:
        clock = float(env.get_state().users.clock[0])
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        total, done = total + reward, terminated or truncated
        rows, below = read(env.render())
        assert [row["#"] for row in rows] == [str(s + 1) for s in range(env.world.slate_size)]
        assert [row["item"] for row in rows] == [str(i) if i >= 0 else "-" for i in info["slate"]]
        topics = [str(env.world.catalog.topic[i]) if i >= 0 else "-" for i in info["slate"]]
        assert [row["topic"] for row in rows] == topics
        for row, item, probability, click in zip(rows, info["slate"], info["probability"], info["click"], strict=True):
            assert (row["user"] == "nothing shown") == (item < 0)
            assert ("clicked" in row["user"]) == click
            assert (row["user"] == "ignored") == (item >= 0 and not click)
            assert row["P(click)"] == (f"{probability:.3f}" if item >= 0 else "-")
            if item >= 0 and "price" in row:
                _, discount, *_ = env.world.market.observe(np.array([[item]], np.int32), np.float32([clock]))[0, 0]
                price = env.world.market.price[item] * (1 - discount)
                assert float(row["price"]) == pytest.approx(price, abs=0.006)
        assert number(below["Reward"]) == pytest.approx(reward, abs=0.0051)
        assert number(below["Return"]) == pytest.approx(total, abs=0.0051)
        if reward == 0:
            assert "click" not in below["Objectives"]
    t = int(env.get_state().users.t[0])
    assert env.render().startswith(f"Step {t}/{env.world.horizon}, day ")
    assert env.render().endswith("The user left." if terminated else f"horizon of {env.world.horizon} steps.")
    env.reset()
    assert "No step yet" in env.render()


@pytest.mark.parametrize("name", recgym.ENV_IDS)
def test_picture_changes_with_what_happens(name: str) -> None:
    pictures = [play(name, "rgb_array", steps, seed=3).render() for steps in (0, 1, 1000)]
    for picture in pictures:
        assert picture.shape == (700, 1200, 3)
        assert picture.dtype == np.uint8
        for part in (picture[:46], picture[100:415, :360], picture[100:415, 360:], picture[440:]):  # none is blank
            assert len(np.unique(part @ np.array([1, 256, 65536]))) > 10
    for one, other in combinations(pictures, 2):
        assert (one != other).any(axis=2).mean() > 0.002
    assert np.array_equal(play(name, "rgb_array", 1, seed=3).render(), pictures[1])


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@pytest.mark.parametrize("reward", [None, "vector"])
def test_rows_of_a_batch_show_their_own_episode(mode: str, reward: Any) -> None:
    leaving = {"kind": "Hazard", "level": -1.0, "satisfaction": 0.0, "fatigue": 0.0}
    B, horizon = 12, 4
    options = dict(departure=leaving, horizon=horizon, reward=reward, autoreset_mode=mode, render_mode="ansi")
    env = RecVectorEnv("ecommerce", B, slate_size=2, **options)
    env.reset(seed=5)
    env.action_space.seed(5)
    assert len(env.render() or ()) == B
    t, returns, ended = np.zeros(B, int), np.zeros((B, 5 if reward else 1)), np.zeros(B, bool)
    last: list[str] = [""] * B
    seen = {"left": 0, "left at the horizon": 0, "horizon": 0}
    for _ in range(25):
        _, rewards, terminated, truncated, info = env.step(env.action_space.sample())
        slate = info["slate"]
        if mode == "SameStep" and "final_info" in info:
            slate = np.where(info["_final_info"][:, None], info["final_info"]["slate"], slate)
        texts = env.render()
        assert texts is not None
        for b, text in enumerate(texts):
            if ended[b] and mode == "NextStep":  # this step was the reset
                assert "No step yet" in text
                assert "It is day" in text
                t[b], returns[b], ended[b] = 0, 0, False
                continue
            if ended[b] and mode == "Disabled":
                assert text == last[b]
                continue
            if ended[b]:
                t[b], returns[b] = 0, 0
            t[b] += 1
            returns[b] += rewards[b]
            ended[b] = terminated[b] or truncated[b]
            rows, below = read(text)
            assert text.startswith(f"Step {t[b]}/{horizon}, ")
            assert [row["item"] for row in rows] == [str(i) if i >= 0 else "-" for i in slate[b]]
            shown = [float(x) for x in re.findall(r"[+-][\d.]+", below["Return"])]
            assert shown == pytest.approx(returns[b], abs=0.0051)
            assert text.endswith("The user left.") == terminated[b]
            assert text.endswith("horizon of 4 steps.") == truncated[b]
            seen["left at the horizon"] += bool(terminated[b]) and t[b] == horizon
            seen["left"] += bool(terminated[b])
            seen["horizon"] += bool(truncated[b])
            last[b] = text
    assert min(seen["left"], seen["horizon"]) > 0
    assert mode == "Disabled" or seen["left at the horizon"] > 0
    if mode == "Disabled":
        mask = np.arange(B) == 0
        env.reset(options={"reset_mask": mask})
        env.step(env.action_space.sample())
        texts = env.render()
        assert texts is not None
        assert texts[0].startswith("Step 1/")
        assert all("No step yet" in text for text in texts[1:])
    env.close()


def test_pictures_of_a_batch_are_those_of_single_users() -> None:
    batch = RecVectorEnv("news", 2, slate_size=3, autoreset_mode="SameStep", render_mode="rgb_array")
    batch.reset(seed=8)
    single = gym.make("recgym/NewsSlate-v0", slate_size=3, render_mode="rgb_array").unwrapped
    single.reset(seed=9)
    batch.action_space.seed(0)
    for _ in range(3):
        actions = batch.action_space.sample()
        batch.step(actions)
        single.step(actions[1])
    pictures = batch.render()
    assert pictures is not None
    assert np.array_equal(pictures[1], single.render())
    assert not np.array_equal(pictures[0], pictures[1])
    batch.close()


def step_once(world: World, slate: Any, click: Any, seed: int = 0, **columns: Any) -> Frame:
    """A frame in which one user of the world gets this slate and clicks so."""
    users = world.arrive(recgym.mix([seed]))
    users = users.replace(**{name: np.array([value], users[name].dtype) for name, value in columns.items()})
    slates, clicks = np.array([slate], np.int32), np.array([click], np.bool_)
    after, feedback = world.step(users, slates, world.noise(users), clicks)
    return Frame(users, feedback, np.array([1.25]), after)


def test_amounts_have_units() -> None:
    news = recgym.load_world("news", slate_size=3)
    items = news.market.available(600.0)[:3]
    frame = step_once(news, items, [True, False, True])
    rows, below = read(render(news, [frame], 0, "ansi"))
    minutes = [float(x) for row in rows for x in re.findall(r"read ([\d.]+) min", row["user"])]
    assert len(minutes) == 2
    assert sum(minutes) == pytest.approx(frame.feedback.objectives[0, 1], abs=0.11)
    assert rows[1]["user"] == "ignored"
    assert f"dwell {frame.feedback.objectives[0, 1]:.2f}" in below["Objectives"]

    live = recgym.load_world("livestream", slate_size=2)
    world = live.replace(response={**live.response.to_dict(), "like": 50.0, "gift": 50.0, "stay": 10.0})
    streams = world.market.available(float(world.arrive(recgym.mix([0])).clock[0]))
    frame = step_once(world, streams[:2], [False, True])
    _, watch, _, like, gift = frame.feedback.objectives[0]
    assert min(watch, like, gift) > 0
    rows, below = read(render(world, [frame], 0, "ansi"))
    assert [row["user"] for row in rows] == ["ignored", f"clicked, watched {watch:.1f} min, liked, gave {gift:.2f}"]
    assert f"screen: item {streams[1]} (topic {world.catalog.topic[streams[1]]})" == below["On"]


def test_watching_without_a_prompt() -> None:
    world = recgym.load_world("livestream", slate_size=2)
    stream = int(world.market.available(float(world.arrive(recgym.mix([0])).clock[0]))[3])
    frame = step_once(world, [-1, -1], [False, False], watching=stream, is_watching=1.0)
    text = render(world, [frame], 0, "ansi")
    rows, below = read(text)
    assert {row["user"] for row in rows} == {"nothing shown"}
    watched = frame.feedback.objectives[0, 1]
    assert f"On screen: item {stream} (topic {world.catalog.topic[stream]}), watched {watched:.1f} min" in text
    assert number(below["Reward"]) == 1.25
    browsing = step_once(world, [-1, -1], [False, False])
    assert "On screen: nothing, the user browses" in render(world, [browsing], 0, "ansi")
    pictures = [render(world, [one], 0, "rgb_array") for one in (frame, browsing)]
    assert not np.array_equal(*pictures)


def test_late_purchase_and_return_are_told() -> None:
    shop = recgym.load_world("ecommerce", slate_size=2)
    shop = shop.replace(response={**shop.response.to_dict(), "hazard": 1.0})
    cart = dict(cart_item=[7, -1, -1, -1, -1], cart_price=[9.0, 0, 0, 0, 0], cart_size=1.0)
    text = render(shop, [step_once(shop, [1, 2], [False, False], **cart)], 0, "ansi")
    assert "Bought from the cart: item 7" in text
    assert "revenue 9" in text

    news = recgym.load_world("news")
    item = int(news.market.available(600.0)[0])
    frame = step_once(news, [item], [False], stamina=3.0, spent=2.5, satisfaction=1.0)
    returned = frame.feedback.objectives[0, list(news.objectives).index("return")]
    text = render(news, [frame], 0, "ansi")
    assert ("Came back at day" in text) == bool(returned)
    assert text.endswith("The user left.") != bool(returned)


def reasons_of(candidates: int, available: int, null: bool, seed: int = 0) -> Reasons:
    """Random reasons; names are long ones."""
    rng = np.random.default_rng(seed)
    groups = ("match_profile", "match_history", "last_feedback", "quality_signal", "embedding", "popularity", "session")
    values, contributions = rng.normal(size=candidates + null), rng.normal(size=(candidates + null, len(groups)))
    values[available + null :], contributions[available + null :] = -np.inf, 0
    return Reasons(values, contributions, groups)


def test_reasons_of_a_text_are_the_agents() -> None:
    world = recgym.load_world("livestream", slate_size=2, candidates=20)
    users = world.arrive(recgym.mix([0]))
    candidates = [int(item) for item in users.candidates[0]]
    why = reasons_of(20, 18, True, seed=1)
    worst = [int(k) for k in np.argsort(why.values[1:19])[:2]]  # shown, so listed, though 12 others are better
    frame = step_once(world, [candidates[k] for k in worst], [False, False])
    text = render(world, [frame], 0, "ansi", None, why)
    assert "values of 19 choices, the best 12" in text
    lines = text.splitlines()
    head = next(k for k, line in enumerate(lines) if line.lstrip().startswith("shown"))
    names, rows = lines[head].split(), [line.split() for line in lines[head + 1 :]]
    spans = why.contributions.max(axis=0) - why.contributions.min(axis=0)
    strongest = np.argsort(-spans)[:5]
    assert names == ["shown", "item", "topic", "value", *(why.groups[g] for g in strongest), "other"]
    assert {row[1]: row[0] for row in rows if row[0] != "-"} == {
        str(candidates[k]): str(s + 1) for s, k in enumerate(worst)
    }
    assert len(rows) == 12
    assert all(float(a[3]) >= float(b[3]) for a, b in pairwise(rows))
    for row in rows:
        c = 0 if row[1] == "nothing" else 1 + candidates.index(int(row[1]))
        assert row[2] == ("-" if c == 0 else str(world.catalog.topic[candidates[c - 1]]))
        expected = [why.values[c], *why.contributions[c, strongest]]
        assert [float(x) for x in row[3:-1]] == pytest.approx(expected, abs=0.006)
        assert sum(float(x) for x in row[4:]) == pytest.approx(why.contributions[c].sum(), abs=0.04)

    nothing = why._replace(values=np.where(np.arange(21) == 0, 9.0, why.values))
    shown = render(world, [step_once(world, [-1, -1], [False, False])], 0, "ansi", None, nothing)
    assert re.search(r"^ *1  nothing", shown, re.MULTILINE)  # the null action was taken
    assert not re.search(r"^ *1  nothing", render(world, [], 0, "ansi", users, nothing), re.MULTILINE)
    pictures = [render(world, [frame], 0, "rgb_array", None, each) for each in (None, why, nothing)]
    for one, other in combinations(pictures, 2):
        assert (one != other).any(axis=2).mean() > 0.002
    with pytest.raises(ConfigError, match="reasons: must have a value for each of 20 candidates"):
        render(world, [frame], 0, "ansi", None, reasons_of(19, 19, False))


def test_reasons_need_a_reset_and_a_row_that_is_there() -> None:
    env = RecVectorEnv("ecommerce", 2, render_mode="ansi")
    with pytest.raises(ConfigError, match="reasons: need a reset first"):
        env.frame(0, reasons_of(20, 20, False))
    env.reset(seed=0)
    assert (env.frame(0), env.frame(1)) == env.render()
    with pytest.raises(ConfigError, match=r"row: must be an integer in \[0, 1\], got 2"):
        env.frame(2)


def test_reasons_of_a_pause_are_not_shown() -> None:
    leaving = {"kind": "Hazard", "level": -1.0, "satisfaction": 0.0, "fatigue": 0.0}
    env = RecVectorEnv("ecommerce", 6, departure=leaving, horizon=4, autoreset_mode="Disabled", render_mode="ansi")
    env.reset(seed=0)
    why, ended = reasons_of(20, 20, False), np.zeros(6, bool)
    for _ in range(4):
        *_, terminated, truncated, _ = env.step(np.zeros(6, np.int64))
        texts = [env.frame(row, why) for row in range(6)]
        assert ["values of 20 choices" in text for text in texts] == [not over for over in ended]
        before, ended = ended, terminated | truncated
    assert 0 < before.sum() < 6
    env.reset(options={"reset_mask": np.arange(6) == 2})  # no step of the others is left
    texts = [env.frame(row, why) for row in range(6)]
    assert all("No step yet" in text for text in texts)
    assert "values of 20 choices" in texts[2]


def test_shares_by_topic_show_the_largest() -> None:
    env = play("recgym/RecoGym-v1", "ansi", 30, seed=3)
    views = env.get_state().users.views[0]
    assert views.sum() == pytest.approx(1)
    assert f"highest views {views.max():.2f}".rstrip("0").rstrip(".") in env.render()
    assert "total views" not in env.render()


def plain_world(slate_size: int = 3) -> World:
    """No price, no signals, no user state, nobody leaves."""
    rng = np.random.default_rng(0)
    centroids = np.eye(3, dtype=np.float32)
    topic = rng.integers(0, 3, 12)
    return World(
        catalog=Catalog(centroids[topic], topic, np.zeros((12, 0)), (), 3),
        population=TopicMixture(centroids), market=StaticMarket.of(12), candidates=All(), preference=DotProduct(),
        choice=MultinomialLogit(), response=Clicks(), dynamics=(), departure=Never(), reward=Weighted(),
        slate_size=slate_size, horizon=5,
    )  # fmt: skip


def test_a_plain_world() -> None:
    world = plain_world()
    env = RecVectorEnv(world, 1, null_action=True, render_mode="ansi", autoreset_mode="Disabled")
    env.reset(seed=0)
    env.step(np.array([[0, 5, 5]]))  # nothing, item 4, and item 4 again
    text = env.render()
    assert text is not None
    rows, below = read(text[0])
    assert [row["item"] for row in rows] == ["-", "4", "-"]
    assert [row["user"] == "nothing shown" for row in rows] == [True, False, True]
    assert below["User"] == "no state of its own"
    pictures = [render(world, env._frames, 0, "rgb_array")]
    for _ in range(4):
        env.step(np.zeros((1, 3), np.int64))
    pictures.append(render(world, env._frames, 0, "rgb_array"))
    assert not np.array_equal(*pictures)
    env.close()


def test_steps_before_a_snapshot_are_not_counted() -> None:
    env = play("recgym/EcommerceSlate-v0", "ansi", 0, seed=1, departure={"kind": "Never"}, like_dislike=True)
    for k in range(6):
        if k == 4:
            env.set_state(env.get_state())
            assert "No step yet" in env.render()
        env.step(np.arange(5))
    assert env.render().startswith("Step 6/")
    _, below = read(env.render())
    assert below["Return"].endswith("since step 5")
    env.batch.render_mode = "rgb_array"
    assert env.render().shape == (700, 1200, 3)


class RecordingPen(drawing._Pen):
    """Keeps the figures that are drawn."""

    figures: list[Any]

    def __init__(self, figure: Any) -> None:
        super().__init__(figure)
        self.figures.append(figure)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *(("LiveStream", size) for size in (1, 2, 5, 10)),
        *(("Ecommerce", size) for size in (5, 15)),
        ("News", 10),
    ],
)
def test_no_text_overlaps_or_leaves_the_page(name: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(drawing, "_Pen", type("Pen", (RecordingPen,), {"figures": figures}))
    form = "item" if size == 1 else "slate"
    env = play(f"recgym/{name}-v0", "rgb_array", 12, seed=size, slate_size=size, action=form, candidates=50)
    clicked = step_once(env.world, np.arange(size), np.arange(size) % 2 == 0, seed=size)
    render(env.world, [clicked], 0, "rgb_array")
    env.render()
    why = reasons_of(50, 1 if size == 2 else 50, env.batch.actions.null, seed=size)
    render(env.world, [clicked], 0, "rgb_array", None, why)
    assert len(figures) == 3
    for figure in figures:
        renderer = figure.canvas.get_renderer()
        texts = [text for text in figure.texts if text.get_text()]
        boxes = np.array([text.get_window_extent(renderer).extents for text in texts])
        assert boxes[:, :2].min() >= 0
        assert boxes[:, 2].max() <= 1200
        assert boxes[:, 3].max() <= 700
        low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        overlap = np.prod(np.clip(high - low - 1.5, 0, None), axis=2)  # extents hold a pixel of air
        np.fill_diagonal(overlap, 0)
        worst = np.unravel_index(overlap.argmax(), overlap.shape)
        assert overlap.max() == 0, [texts[k].get_text() for k in worst]


def test_what_goes_wrong_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    world = plain_world()
    with pytest.raises(ConfigError, match=r"render_mode: .* Did you mean 'ansi'"):
        render(world, [], 0, "ansy")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install \"recgym\[bench\]\""):
        render(world, [], 0, "rgb_array")
    assert "No step yet" in render(world, [], 0, "ansi")


def test_matplotlib_is_imported_late_and_pyplot_never() -> None:
    code = """
import sys, gymnasium, recgym
env = gymnasium.make("recgym/News-v0", render_mode="rgb_array")
env.reset(seed=0)
assert "matplotlib" not in sys.modules
env.render()
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
