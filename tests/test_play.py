"""The playground: the page is told what an env of the same seed says, a person in the place of the user is heard, and nobody
else's page is answered. The last tests are done in a headless Chromium, where there is one."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("fastapi", reason='the playground needs pip install "recgym[play]"')
pytest.importorskip("uvicorn")
pytest.importorskip("httpx2")

import uvicorn
from chromium import Chromium, Page, chromium
from fastapi.testclient import TestClient

import recgym
from baselines import Task, load_pretrained, make_agent
from baselines.playground import agents, controls, person, server
from baselines.playground.game import Game
from baselines.playground.person import Answer, asking
from recgym.__main__ import main
from recgym.compat import AutoresetMode
from recgym.errors import ConfigError
from recgym.noise import mix

PORT = 8642
SMALL = {"items": 2000}  # a catalogue that is drawn in no time


@pytest.fixture(scope="module")
def app() -> Any:
    return server.make_app(PORT)


@pytest.fixture
def client(app) -> TestClient:
    return TestClient(app, base_url=f"http://127.0.0.1:{PORT}")


def begun(client: TestClient, id: str = "recgym/Ecommerce-v0", **more: Any) -> dict[str, Any]:
    more["options"] = {**SMALL, **more.get("options", {})}
    response = client.post("/api/sessions", json={"id": id, "seed": 3, **more})
    assert response.status_code == 200, response.text
    return response.json()


def stepped(client: TestClient, told: dict[str, Any], **given: Any) -> dict[str, Any]:
    response = client.post(f"/api/sessions/{told['session']}/step", json={"step": told["step"], **given})
    assert response.status_code == 200, response.text
    return response.json()


def refused(client: TestClient, path: str, body: Any, status: int = 422) -> str:
    response = client.post(path, json=body)
    assert response.status_code == status, response.text
    return response.json()["error"]


# The person recommends


@pytest.mark.parametrize("id", recgym.ENV_IDS)
def test_the_page_is_told_what_an_env_of_the_same_seed_says(client, id):
    told = begun(client, id)
    env: Any = gym.make(id, observation="dict", **SMALL)
    observation, info = env.reset(seed=3)
    world, null = env.unwrapped.world, env.unwrapped.batch.actions.null
    parts = [part.name for part in env.unwrapped.observation_layout["candidates"].parts]
    assert told["slate_size"] == world.slate_size
    assert told["null"] == null
    picked, total = [[4], [0, 7, 2][: world.slate_size], [1]], 0.0
    for picks in picked:
        seen = {row["pick"]: row for row in told["candidates"]}
        there = np.flatnonzero(observation["mask"])
        assert [*seen] == there.tolist() == np.flatnonzero(info["action_mask"][null:]).tolist()
        keys = [column["key"] for column in told["columns"]]
        assert sorted(keys) == sorted(parts)
        for k in there:
            values = [cell["value"] for cell in seen[k]["cells"]]
            np.testing.assert_array_equal(
                np.float32(values), observation["candidates"][k][[parts.index(key) for key in keys]]
            )
        action = np.array([*(np.array(picks) + null), *[0 if null else picks[0]] * (world.slate_size - len(picks))])
        observation, reward, terminated, truncated, info = env.step(action if world.slate_size > 1 else int(action[0]))
        total += reward
        told = stepped(client, told, picks=picks)
        assert told["rewards"][-1] == told["last"]["reward"] == reward
        assert [item["item"] for item in told["last"]["shown"]] == [i for i in info["slate"] if i >= 0]
        assert [item["clicked"] for item in told["last"]["shown"]] == info["click"][info["slate"] >= 0].tolist()
        expected = dict(zip(world.objectives, info["objectives"], strict=True))
        assert bool(told["over"]) == (terminated or truncated)
    assert sum(told["rewards"]) == pytest.approx(total)
    assert told["totals"][world.objectives[0].replace("_", " ")] >= expected[world.objectives[0]]
    names = {series["name"] for series in told["series"]}
    assert names & {"satisfaction", "patience left"}
    assert all(len(series["values"]) == 4 for series in told["series"])
    assert client.get(f"/api/sessions/{told['session']}").json() == told


@pytest.mark.parametrize("id", ["recgym/News-v0", "recgym/NewsSlate-v0"])
def test_where_nothing_is_there_nothing_can_be_shown(client, id):
    """Of twenty articles in twelve weeks, often none is there."""
    told = begun(client, id, options={"items": 20})
    assert (told["candidates"], told["null"]) == ([], True)
    told = stepped(client, told, picks=[])
    assert told["last"]["shown"] == []
    assert client.post(f"/api/sessions/{told['session']}/rivals/random", json={}).json()["status"] == "ready"


def test_a_log_replays_in_gymnasium(client):
    options = {"cold_start": 0.5, "choice.kind": "PositionBased", "choice.threshold": 3.0, "dynamics.2.limit": 2.0}
    told = begun(client, "recgym/EcommerceSlate-v0", options=options)
    for picks in ([3, 1, 5], [0], [9, 8, 7, 6, 5]):
        told = stepped(client, told, picks=picks)
    response = client.get(f"/api/sessions/{told['session']}/log")
    assert response.headers["content-disposition"] == 'attachment; filename="recgym-EcommerceSlate-v0-3.jsonl"'
    head, *lines = map(json.loads, response.text.splitlines())
    assert head["format"] == "recgym-session-1"
    assert head["options"]["cold_start"] == 0.5
    env = gym.make(head["env"], **head["options"])
    assert env.unwrapped.world.choice.threshold == 3.0  # type: ignore[attr-defined]
    env.reset(seed=head["seed"])
    for line in lines:
        _, reward, terminated, truncated, info = env.step(np.array(line["action"]))
        assert (reward, terminated, truncated) == (line["reward"], line["terminated"], line["truncated"])
        assert info["slate"].tolist() == line["slate"]
        assert info["click"].tolist() == line["click"]
    assert len(lines) == 3


@pytest.mark.parametrize("name", ["random", "heuristic", "one-step"])
def test_agents_serve_the_same_user(client, name):
    told = begun(client, "recgym/News-v0", options={"horizon": 20})
    found = client.post(f"/api/sessions/{told['session']}/rivals/{name}", json={}).json()
    assert found["status"] == "ready"
    env: Any = gym.make_vec("recgym/News-v0", num_envs=1, autoreset_mode=AutoresetMode.DISABLED, horizon=20, **SMALL)
    observation, info = env.reset(seed=3)
    agent, rewards = make_agent(name), []
    agent.start(env)
    while True:
        observation, reward, terminated, truncated, info = env.step(agent.act(observation, info["action_mask"]))
        rewards.append(float(reward[0]))
        if terminated[0] or truncated[0]:
            break
    assert found["rewards"] == rewards
    assert found["ended"] == ("left" if terminated[0] else "horizon")


def test_an_agent_that_cannot_play_in_a_world_says_why(client):
    options = {"response.kind": "Clicks", "reward.kind": "LikeDislike", "departure.kind": "Never", "horizon": 5}
    told = begun(client, "recgym/News-v0", options=options)
    found = client.post(f"/api/sessions/{told['session']}/rivals/one-step", json={}).json()
    assert (found["status"], "rewards" in found) == ("failed", False)
    assert found["error"].startswith("OneStep.weights: got 'dwell'")
    assert "must be one of" in refused(client, f"/api/sessions/{told['session']}/rivals/planer", {}).lower()


def test_an_agent_learns_first(client, monkeypatch):
    monkeypatch.setitem(agents.OFFERS, "linucb", agents.OFFERS["linucb"]._replace(steps=256))
    told = begun(client, options={"horizon": 5})
    path, end = f"/api/sessions/{told['session']}/rivals/linucb", time.monotonic() + 60
    found = client.post(path, json={}).json()
    assert found["status"] == "working"
    while found["status"] == "working":
        assert time.monotonic() < end
        time.sleep(0.05)
        found = client.post(path, json={}).json()
    assert found["status"] == "ready", found
    assert 1 <= len(found["rewards"]) <= 5
    asked = {"id": "recgym/Ecommerce-v0", "options": {**SMALL, "horizon": 5}, "agent": "linucb"}
    assert client.post("/api/agents", json=asked).json()["status"] == "ready"  # the same world
    assert begun(client, options={"horizon": 5}, mode="user", agent="linucb")["shown"]
    asked["options"] = {**SMALL, "horizon": 6}
    refused(client, "/api/sessions", {**asked, "mode": "user"})  # another world, which it has not learned


def test_agents_of_the_leaderboards_come_trained():
    pool, id = agents.Pool(), "recgym/Ecommerce-v0"
    for options in ({}, {"cold_start": 1}):
        key, end = agents.key_of(id, options), time.monotonic() + 60
        world, made, null = controls.make(id, options)
        while pool.status(key, "dqn", id, agents.around(world, null, made)).status != "ready":
            assert time.monotonic() < end
            time.sleep(0.02)
        agent = pool.agent(key, "dqn")
        agent.start(Task(id).make(1))
        there = load_pretrained("dqn", id)
        there.start(agent.env)
        observation, info = agent.env.reset(seed=3)
        assert (agent.values(observation, info["action_mask"]) == there.values(observation, info["action_mask"])).all()
    assert agents.at_home(key)
    assert not agents.at_home(agents.key_of(id, {"horizon": 5}))


def test_a_training_that_nobody_asks_after_is_given_up():
    pool = agents.Pool()
    pool.patience = 0.0
    world, made, null = controls.make("recgym/Ecommerce-v0", SMALL)
    given = (
        agents.key_of("recgym/Ecommerce-v0", SMALL),
        "linucb",
        "recgym/Ecommerce-v0",
        agents.around(world, null, made),
    )
    assert pool.status(*given).status == "working"
    job, end = pool._jobs[given[0], "linucb"], time.monotonic() + 60
    while not job.error:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert (job.error, job.agent) == ("given up", None)


# The person is the user


def test_what_the_person_does_is_what_happens_in_the_shop(client):
    told = begun(client, "recgym/EcommerceSlate-v0", mode="user", agent="heuristic", options={"cold_start": 1})
    assert told["deeds"] == ["look", "cart", "buy"]
    told = stepped(client, told, answer={"took": {"2": "look"}})
    assert [item["did"] for item in told["last"]["shown"]] == ["", "", "clicked", "", ""]
    assert told["history"][0]["item"] == told["last"]["shown"][2]["item"]
    told = stepped(client, told, answer={"took": {"0": "cart"}})
    assert told["totals"] | {"satisfaction": 0} == {
        "click": 2,
        "cart": 1,
        "purchase": 0,
        "revenue": 0,
        "satisfaction": 0,
    }
    assert [one["item"] for one in told["cart"]] == [told["last"]["shown"][0]["item"]]
    told = stepped(client, told, answer={"took": {"1": "buy"}, "buys": [0]})
    assert (told["totals"]["purchase"], told["cart"]) == (2, [])
    told = stepped(client, told, answer={})
    assert [item["did"] for item in told["last"]["shown"]] == [""] * 5
    told = stepped(client, told, answer={"leaves": True})
    assert told["over"] == "You left."
    assert len(told["course"]) == 5
    assert "goes on" in refused(client, f"/api/sessions/{told['session']}/step", {"step": 5, "answer": {}})


def test_a_reader_reads_and_a_viewer_watches_as_long_as_the_person_likes(client):
    told = begun(client, "recgym/NewsSlate-v0", mode="user", agent="heuristic")
    told = stepped(client, told, answer={"took": {"0": "glance", "1": "read", "3": "share"}})
    minutes = [
        float(re.search(r"read ([\d.]+)", item["did"])[1]) if item["did"] else 0 for item in told["last"]["shown"]
    ]  # type: ignore[index]
    assert minutes[0] < minutes[1] < minutes[3]
    assert minutes[2] == minutes[4] == 0
    assert told["totals"]["share"] == 1
    told = begun(client, "recgym/LiveStream-v0", mode="user", agent="popularity", seed=1)
    told = stepped(client, told, answer={"took": {"0": "watch"}})
    assert told["screen"]["minutes"] == 3
    told = stepped(client, told, answer={"like": True, "gift": True})
    assert (told["totals"]["watch"], told["totals"]["like"]) == (6, 1)
    assert told["totals"]["gift"] > 0
    told = stepped(client, told, answer={"stays": False})
    assert told["screen"] is False
    assert told["totals"]["watch"] < 6.01


def test_a_stream_that_the_model_finds_dull_is_watched_by_who_likes_it(client):
    dull = {"preference.users.level": -60.0}  # utilities of about -20: a simulated viewer would see a second of it
    told = begun(client, "recgym/LiveStream-v0", mode="user", agent="popularity", seed=1, options=dull)
    for answer in ({"took": {"0": "watch"}}, {}):
        told = stepped(client, told, answer=answer)
        assert told["last"]["notes"][0].startswith("on screen: ")
    assert told["totals"]["watch"] == told["screen"]["minutes"] == 6


@pytest.mark.parametrize("id", recgym.ENV_IDS)
def test_a_person_who_answers_as_the_model_does_is_that_user(id, monkeypatch):
    """The asking parts change answers alone: with the model's own clicks, responses and departures all arrays are the same."""
    world, _, _ = controls.make(id, SMALL)
    answer = Answer()
    asked = asking(world, answer)
    users = same = world.arrive(mix(11))
    monkeypatch.setattr(
        person._Responds, "__call__", lambda self, *given: super(person._Responds, self).__call__(*given)
    )
    monkeypatch.setattr(person._Leaves, "__call__", lambda self, *given: super(person._Leaves, self).__call__(*given))
    for _ in range(8):
        slate = np.ascontiguousarray(users.candidates[:, : world.slate_size])
        users, feedback = world.step(users, slate, world.noise(users))
        answer.took = {int(s): "look" for s in np.flatnonzero(feedback.click[0])}
        same, told = asked.step(same, slate, asked.noise(same))
        for name in feedback:
            np.testing.assert_array_equal(told[name], feedback[name])
        for name in users:
            np.testing.assert_array_equal(same[name], users[name])


def test_forced_clicks_of_the_world_are_the_clicks_of_the_person():
    """`World.step(click=...)` and a person who only looks agree on all that follows from the click itself."""
    world, _, _ = controls.make("recgym/EcommerceSlate-v0", SMALL)
    users = world.arrive(mix(4))
    slate = np.ascontiguousarray(users.candidates[:, :5])
    click = np.array([[False, False, True, False, False]])
    forced, _ = world.step(users, slate, world.noise(users), click=click)
    asked, feedback = asking(world, Answer(took={2: "look"})).step(users, slate, world.noise(users))
    assert feedback.click.tolist() == click.tolist()
    for name in ("history", "exposure", "interest", "fatigue", "clock"):
        np.testing.assert_array_equal(asked[name], forced[name])


# Parameters


def test_every_number_of_the_parts_is_a_control_with_its_sentence(client):
    found = client.post("/api/controls", json={"id": "recgym/News-v0"}).json()["groups"]
    each = {control["name"]: control for group in found for control in group["controls"]}
    assert each["items"] | {"about": ""} == {
        "name": "items", "label": "items", "about": "", "kind": "whole", "value": 12000, "default": 12000,
        "least": 1, "most": 100_000, "low": 1, "high": 24_000,
    }  # fmt: skip
    assert each["cold_start"]["about"] == "cold_start, the share of users without a profile (0.1)"
    said = {re.sub(r"\W*\(.*\)$", "", control["about"]) for control in found[0]["controls"]}
    assert not said & {*each}, "a name is no sentence"
    assert (each["choice.attention"]["least"], each["choice.attention"]["most"]) == (0, 1)
    assert each["choice.attention"]["about"] == "probability of reading on, in [0, 1]."
    assert each["dynamics.2.by"]["choices"] == ["least", "mean"]
    assert each["choice.kind"]["value"] == "Cascade"
    assert each["reward.objectives.dwell"]["value"] == 0.5
    world = recgym.load_world("news")
    for family in ("choice", "response", "departure"):
        part = getattr(world, family)
        numbers = {f"{family}.{name}" for name, value in vars(part).items() if isinstance(value, float)}
        assert numbers <= {*each}
        assert all(each[name]["about"] for name in numbers)
    for control in each.values():
        if control["kind"] in ("number", "whole"):
            assert control["low"] <= control["value"] <= control["high"], control


@pytest.mark.parametrize(("options", "said"), [
    ({"items": 10**7}, r"items: must be an integer in \[1, 100000\], got 10000000"),
    ({"cold_start": 3.0}, r"cold_start: must be a number in \[0, 1\], got 3.0"),
    ({"horzon": 3}, "Did you mean 'horizon'"),
    ({"world": "open-bandit"}, "unexpected keyword argument 'world'"),
    ({"choice.kind": "Casca"}, "Did you mean 'Cascade'"),
    ({"choice.null": "x"}, "MultinomialLogit.null: must be a number"),
    ({"market.slot": 1.0}, "unexpected keyword argument 'market.slot'"),
    ({"dynamics.9.rate": 1.0}, "one of 5 dynamics"),
    ({"departure.kind": "Spent"}, "budget"),
    ({"candidates.candidates": 201}, r"\[1, 200\]"),
    ({"candidates.kind": "All"}, "at most 200 on a page"),
    ({"weeks": [3, 2]}, "first < last"),
    ({"weeks": [1, 2, 3]}, "options.weeks"),
    ({"horizon": {"a": 1}}, "options.horizon"),
])  # fmt: skip
def test_what_recgym_refuses_is_said_in_its_words(client, options, said):
    path = "/api/sessions" if "kind" in str(options) else "/api/controls"
    assert re.search(said, refused(client, path, {"id": "recgym/Ecommerce-v0", "options": {**SMALL, **options}}))


# What the server refuses


@pytest.mark.parametrize("body", [
    {"id": "recgym/Nws-v0"}, {"id": "recgym/News-v0", "seed": -1}, {"id": "recgym/News-v0", "seed": 10**9 + 1},
    {"id": "recgym/News-v0", "seed": "3"}, {"id": "recgym/News-v0", "mode": "god"}, {"id": "recgym/News-v0", "more": 1},
    {"id": "recgym/News-v0", "mode": "user"}, {"id": "recgym/News-v0", "mode": "user", "agent": "one-step"},
    {"id": "recgym/News-v0", "mode": "user", "agent": "evil.py:Agent"}, {"id": "recgym/NewsSlate-v0", "mode": "user", "agent": "dqn"}, [], 7,
])  # fmt: skip
def test_sessions_that_cannot_be(client, body):
    assert refused(client, "/api/sessions", body)


@pytest.mark.parametrize(("given", "said"), [
    ({"picks": []}, "must be 1 to 5 candidates"), ({"picks": [1, 1]}, "each candidate once"), ({"picks": [20]}, "that are there"),
    ({"picks": [-1]}, "that are there"), ({"picks": [0, 1, 2, 3, 4, 5]}, "must be 1 to 5"), ({"picks": ["0"]}, "picks"),
    ({"answer": {}}, "the person is the user"), ({}, "either picks or an answer"), ({"picks": [1], "answer": {}}, "either picks or an answer"),
])  # fmt: skip
def test_picks_that_cannot_be_change_nothing(client, given, said):
    told = begun(client, "recgym/NewsSlate-v0")
    path = f"/api/sessions/{told['session']}/step"
    assert said in refused(client, path, {"step": 0, **given})
    assert "at step 0, not 1" in refused(client, path, {"step": 1, "picks": [0]}, 409)
    assert client.get(f"/api/sessions/{told['session']}").json() == told


@pytest.mark.parametrize(("answer", "said"), [
    ({"took": {"5": "look"}}, "positions that show an item"), ({"took": {"0": "steal"}}, "deeds among ['look', 'cart', 'buy']"),
    ({"took": {"0": "look", "1": "look"}}, "one item at most"), ({"buys": [5]}, "places of a cart of 5"), ({"took": {"-1": "look"}}, "took"),
    ({"leaves": 1}, "leaves"),
])  # fmt: skip
def test_answers_that_cannot_be_change_nothing(client, answer, said):
    told = begun(client, "recgym/EcommerceSlate-v0", mode="user", agent="random")
    path = f"/api/sessions/{told['session']}/step"
    assert said in refused(client, path, {"step": 0, "answer": answer})
    assert "the person recommends" in refused(client, path, {"step": 0, "picks": [0]})
    assert client.get(f"/api/sessions/{told['session']}").json() == told


def test_the_oldest_session_is_dropped():
    kept = server.Sessions(most=2)
    client = TestClient(server.make_app(PORT, kept), base_url=f"http://localhost:{PORT}")
    first, second = begun(client)["session"], begun(client)["session"]
    client.get(f"/api/sessions/{first}")  # used since
    third = begun(client)["session"]
    assert len(kept) == 2
    assert [client.get(f"/api/sessions/{name}").status_code for name in (first, second, third)] == [200, 404, 200]
    assert "keeps the last 2" in client.get(f"/api/sessions/{second}/log").json()["error"]


@pytest.mark.parametrize(("headers", "status"), [
    ({"host": "evil.example:8642"}, 403), ({"host": "127.0.0.1:1"}, 403), ({"host": "127.0.0.1"}, 403),
    ({"origin": "http://evil.example"}, 403), ({"origin": "null"}, 403), ({"origin": "https://127.0.0.1:8642"}, 403),
    ({"sec-fetch-site": "cross-site"}, 403), ({"sec-fetch-site": "same-site"}, 403),
    ({"origin": f"http://127.0.0.1:{PORT}", "sec-fetch-site": "same-origin"}, 200), ({}, 200),
])  # fmt: skip
def test_pages_of_others_get_no_answer(client, headers, status):
    assert client.get("/api/start", headers=headers).status_code == status
    assert client.get("/", headers=headers).status_code == status
    assert (
        client.post("/api/controls", headers=headers, json={"id": "recgym/News-v0", "options": SMALL}).status_code
        == status
    )


def test_requests_are_json_and_short(client):
    def post(**given: Any) -> int:
        return client.post("/api/controls", **given).status_code

    assert post(content=b'{"id": "recgym/News-v0"}', headers={"content-type": "text/plain"}) == 415
    assert post(content=b"{" + b" " * 70_000, headers={"content-type": "application/json"}) == 413
    assert post(content=iter([b"{}"]), headers={"content-type": "application/json"}) == 411
    assert post(content=b"{", headers={"content-type": "application/json"}) == 422
    assert post(content=b'{"id": NaN}', headers={"content-type": "application/json"}) == 422


def test_the_page_is_whole_and_loads_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    assert not re.search(r"(src|href)=\"(https?:)?//", page.text)
    assert not re.search(r"style=|<script(?! type=\"module\" src)", page.text)
    names = set(re.findall(r'(?:src|href)="([^"#]+)"', page.text))
    assert names <= {*server.STATIC}
    for name, kind in server.STATIC.items():
        response = client.get(f"/{name}")
        assert response.headers["content-type"].startswith(kind)
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "http" not in response.text.replace("http://www.w3.org/", "")
    for path in ("/play.py", "/..%2fserver.py", "/static/play.js", "/docs", "/openapi.json", "/index.html"):
        assert client.get(path).status_code == 404


def test_words_are_there_for_all_that_is_shown():
    from baselines.playground import words

    for id in recgym.ENV_IDS:
        env: Any = gym.make(id, **SMALL).unwrapped
        parts = [part.name for part in env.observation_layout["candidates"].parts]
        assert {*parts} <= {*words.CANDIDATE}
        own = {part.name for part in env.observation_layout["user"].parts}
        assert own - {"progress", "sine of the day", "cosine of the day"} <= {*words.USER}
        assert len({words.topic_name(id, topic) for topic in range(25)}) == 25
        assert set(person.deeds_of(env.world)) != {"look"}


def test_a_game_takes_no_other_arguments():
    with pytest.raises(ConfigError, match="agent: must be there"):
        Game("recgym/News-v0", {}, 0, "user")
    with pytest.raises(ConfigError, match="id: must be of a registered environment"):
        Game("CartPole-v1", {}, 0, "recommend")


# The command


def test_a_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr("recgym.__main__.find_spec", lambda name: None)
    assert main(["play"]) == 2
    assert capsys.readouterr().err == (
        'python -m recgym: error: play: needs fastapi and uvicorn; pip install "recgym[play]"\n'
    )


def test_a_taken_port_is_an_error_of_one_line(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["play", "--port", str(port), "--no-open"]) == 2
    assert f"port: must be free, or 0 for any that is, got {port}" in capsys.readouterr().err
    assert main(["play", "--port", "70000"]) == 2
    assert "port: must be an integer in [0, 65535], got 70000" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a signal")
def test_the_command_prints_its_address_and_ends_by_ctrl_c():
    command = [sys.executable, "-m", "recgym", "play", "--port", "0", "--no-open"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = int(re.fullmatch(r"The playground is at http://127\.0\.0\.1:(\d+)/ \(Ctrl-C ends it\)\.\n", line)[1])  # type: ignore[index]
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (0, "Stopped.\n", "")
    finally:
        process.kill()
        process.wait()


# In a browser


needs_chromium = pytest.mark.skipif(
    chromium() is None, reason="NO CHROMIUM: the page itself is not tested; set $CHROMIUM"
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server on a free port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        running = uvicorn.Server(
            uvicorn.Config(server.make_app(port), log_level="warning", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{port}/"
        running.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium() as found:
        yield found


@pytest.fixture(params=[(1280, 900, False), (390, 844, True)], ids=["desktop", "dark phone"])
def page(request, browser, address) -> Iterator[Callable[[str], Page]]:
    """Opens the page at an id and a mode, starts a session, and looks afterwards that nothing was wrong."""
    made = browser.page(*request.param)

    def opened(place: str) -> Page:
        made.open(f"{address}#{place}")
        made.wait("document.body.dataset.ready")
        return made

    yield opened
    assert made.complaints() == []
    assert {re.match(r"(blob:)?http://127\.0\.0\.1:\d+/", one) is not None for one in made.addresses()} <= {True}
    assert made.js("document.documentElement.scrollWidth <= window.innerWidth"), "the page is wider than the screen"
    unnamed = """[...document.querySelectorAll('button, a, input, select')].filter((e) => e.checkVisibility() && !e.innerText
      && !e.labels?.length && !e.ariaLabel).map((e) => e.outerHTML)"""
    assert made.js(unnamed) == []


def step_of(page: Page) -> int:
    return int(page.js("document.querySelector('#bar dd').innerText.split(' ')[0]"))


@needs_chromium
def test_a_person_recommends_on_the_page(page):
    shown = page("id=recgym/EcommerceSlate-v0&mode=recommend&seed=3")
    shown.click("#start")
    shown.wait("document.querySelectorAll('.pick').length === 20")
    for row in (1, 4):
        shown.click(f"tbody tr:nth-child({row}) .pick")
    assert shown.js("[...document.querySelectorAll('.picked .place')].map((e) => e.innerText)") == ["1", "2"]
    items = shown.js("[...document.querySelectorAll('.picked .pick')].map((e) => e.dataset.pick)")
    shown.click("#show")
    shown.wait("document.querySelectorAll('.did li').length === 2")
    assert step_of(shown) == 1
    shown.press("ArrowDown")
    shown.press("Enter")
    shown.press("s")
    shown.wait("document.querySelector('#bar dd').innerText.startsWith('2 ')")
    shown.wait(
        "document.querySelectorAll('#rivals tr').length > 8 && !document.querySelector('#rivals').innerText.includes('…')"
    )
    assert shown.js("document.querySelectorAll('#chart polyline').length") >= 5
    assert shown.js("document.querySelectorAll('#series svg').length") >= 4
    log = shown.js("fetch(document.querySelector('#log').href).then((r) => r.text())").splitlines()
    assert [int(pick) for pick in items] == json.loads(log[1])["action"][:2]
    assert len(log) == 3
    shown.js(
        "window.kept = []; const made = URL.createObjectURL; URL.createObjectURL = (b) => { kept.push(b); return made(b); }"
    )
    shown.js("HTMLAnchorElement.prototype.click = () => {}")
    shown.click("#svg")
    assert shown.wait("kept[0]?.text()").startswith("<svg")
    shown.click("#png")
    shown.wait("kept.at(-1)?.type === 'image/png' && kept.at(-1).size > 5000")


@needs_chromium
def test_a_person_is_the_user_on_the_page(page):
    shown = page("id=recgym/LiveStream-v0&mode=user&seed=1")
    shown.click("#start")
    shown.wait("document.querySelectorAll('.card').length === 1")
    shown.click('[data-deed="0-watch"]')
    shown.wait("document.querySelector('.box')?.innerText.startsWith('On screen')")
    shown.click("#on")
    shown.wait("document.querySelector('#bar dd').innerText.startsWith('2 ')")
    shown.click("#leave")
    shown.wait("document.querySelector('#end').innerText.startsWith('You left.')")
    assert shown.js("document.querySelectorAll('#course li').length") == 3


@needs_chromium
def test_parameters_on_the_page(page):
    shown = page("id=recgym/News-v0&mode=recommend&seed=1")
    shown.click("#parameters > summary")
    shown.wait("document.querySelectorAll('.control').length > 30")
    change = (
        "(() => {{ const e = document.getElementById({!r}); e.value = {!r}; e.dispatchEvent(new Event('change')); }})()"
    )
    shown.js(change.format("p-horizon", "7"))
    shown.wait("document.querySelector('.control.changed label')?.textContent === 'horizon'")
    shown.js(change.format("p-cold_start", "2"))
    shown.wait("document.querySelector('#invalid').innerText === 'cold_start: must be a number in [0, 1], got 2.0'")
    shown.click("#start")
    shown.wait("document.querySelector('#error').innerText.includes('cold_start')")
    shown.js(change.format("p-cold_start", "1"))
    shown.wait("document.querySelector('#invalid').hidden")
    shown.js(change.format("p-choice.kind", "PositionBased"))
    shown.wait("!!document.getElementById('p-choice.examination')")
    shown.click("#start")
    shown.wait("document.querySelector('#bar dd')?.innerText === '0 of 7 at most'")
    expected = [r"Failed to load resource: the server responded with a status of 422"] * 2
    complaints = shown.complaints()
    assert len(complaints) == 2, complaints
    assert all(re.match(one, found) for one, found in zip(expected, complaints, strict=True))
    shown.browser.events.clear()
