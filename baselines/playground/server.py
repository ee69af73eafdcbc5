"""The server of the playground: the page, and what the page asks for. It listens on 127.0.0.1 and nowhere else.

It keeps a few sessions in memory, the oldest of which is dropped for a new one. Nothing is read from files, and no request
names one. A page of another origin gets no answer: the Host, the Origin and Sec-Fetch-Site of a request are looked at, and the
body of a request is JSON.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import webbrowser
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

import recgym
from baselines.playground import agents, controls, words
from baselines.playground.agents import Pool, key_of, offered, played, privileged
from baselines.playground.game import MOST_SEED, Game
from baselines.playground.person import Answer
from recgym.errors import ConfigError, RecgymError, require, require_option

HOST = "127.0.0.1"
SESSIONS = 20  # that are kept
LARGEST = 64 * 1024  # bytes of a request
STATIC = {
    "play.css": "text/css",
    "play.js": "text/javascript",
    "charts.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
POLICY = "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

Name = Annotated[str, Field(max_length=100)]
Value = bool | Annotated[int, Field(ge=-(2**63), lt=2**63)] | float | Name | Annotated[list[int], Field(max_length=2)]


class _Asked(BaseModel):
    """What a page sends: no other names, no NaN, no numbers in quotes."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class WorldAsked(_Asked):
    """A world: the id of its environment, and options of `controls.make`."""

    id: Name
    options: dict[Name, Value] = Field(default_factory=dict, max_length=200)


class AgentAsked(WorldAsked):
    """An agent in a world."""

    agent: Name


class SessionAsked(WorldAsked):
    """A new session."""

    mode: Name = "recommend"
    seed: int = Field(0, ge=0, le=MOST_SEED)
    agent: Name | None = None


class AnswerAsked(_Asked):
    """What a person does who is the user, see `person.Answer`."""

    took: dict[Annotated[str, Field(pattern=r"^\d{1,4}$")], Name] = Field(default_factory=dict, max_length=100)
    buys: list[int] = Field(default_factory=list, max_length=100)
    stays: bool = True
    like: bool = False
    gift: bool = False
    leaves: bool = False


class StepAsked(_Asked):
    """A step: which one it is, counted from 0, and what the person picks or answers."""

    step: int = Field(ge=0)
    picks: list[int] | None = Field(None, max_length=100)
    answer: AnswerAsked | None = None


class Refused(Exception):
    """A request that gets an error with a status of its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Sessions:
    """The sessions that are kept, by their secret names."""

    def __init__(self, most: int = SESSIONS) -> None:
        self.most = most
        self._games: OrderedDict[str, Game] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, game: Game) -> str:
        """Keep a session, and drop the one that was used least lately if there are too many; returns its name."""
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._games[name] = game
            dropped = self._games.popitem(last=False)[1] if len(self._games) > self.most else None
        if dropped is not None:
            with dropped.lock:
                dropped.close()
        return name

    def get(self, name: str) -> Game:
        """A session.

        Raises:
            Refused: there is none of this name, 404.
        """
        with self._lock:
            if name not in self._games:
                raise Refused(404, f"This session is gone: the server keeps the last {self.most}. Start another.")
            self._games.move_to_end(name)
            return self._games[name]

    def __len__(self) -> int:
        return len(self._games)


def make_app(port: int, sessions: Sessions | None = None) -> FastAPI:
    """The application.

    Args:
        port: that it is served on; requests must name it. sessions: where sessions are kept.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    kept, pool = Sessions() if sessions is None else sessions, Pool()
    hosts = {f"{name}:{port}" for name in (HOST, "localhost")}

    @app.middleware("http")
    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        """Refuse requests of other origins, and those that are too large; forbid the page to load anything from elsewhere."""
        head = request.headers
        if head.get("host") not in hosts:
            return _error(403, f"Only requests to http://{HOST}:{port} are answered.")
        origin, site = head.get("origin"), head.get("sec-fetch-site", "none")
        if (origin is not None and origin.removeprefix("http://") not in hosts) or site not in ("same-origin", "none"):
            return _error(403, "Requests of other pages are not answered.")
        if request.method == "POST":
            size = head.get("content-length", "")
            if not size.isdecimal():
                return _error(411, "A request must say how long it is.")
            if int(size) > LARGEST:
                return _error(413, f"A request must have {LARGEST} bytes at most.")
            if head.get("content-type", "").partition(";")[0].strip() != "application/json":
                return _error(415, "A request must be JSON.")
        response = await go_on(request)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.exception_handler(RecgymError)
    async def wrong(_: Request, error: Exception) -> Response:
        """What recgym refuses, in its own words."""
        return _error(422, str(error))

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        """What the server refuses."""
        return _error(error.status, str(error))

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> Response:
        """What is no request of the page's."""
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body") or "request"
        return _error(422, f"{where}: {first['msg']}")

    @app.get("/")
    def page() -> Response:
        """The page."""
        return Response(_static("index.html"), media_type="text/html")

    @app.get("/{name}")
    def static(name: str) -> Response:
        """What the page consists of."""
        if name not in STATIC:
            raise Refused(404, f"There is no {name[:100]!r} here.")
        return Response(_static(name), media_type=STATIC[name])

    @app.get("/api/start")
    def start() -> dict[str, Any]:
        """What there is to play."""
        return {
            "version": recgym.__version__,
            "most_seed": MOST_SEED,
            "environments": [
                {
                    "id": id,
                    "domain": words.domain(id),
                    "slates": "Slate" in id,
                    "users": words.USERS[words.domain(id)],
                    "agents": {mode: _offers(id, mode) for mode in ("recommend", "user")},
                }
                for id in recgym.ENV_IDS
            ],
        }

    @app.post("/api/controls")
    def shown(asked: WorldAsked) -> dict[str, Any]:
        """The parameters of a world."""
        _known(asked.id)
        return {"groups": controls.groups(asked.id, asked.options)}

    @app.post("/api/agents")
    def ready(asked: AgentAsked) -> dict[str, Any]:
        """How far an agent is that shall recommend to the person; asking sets it to work."""
        _known(asked.id)
        world, made, null = controls.make(asked.id, asked.options)
        arguments = agents.around(world, null, made)
        return _status(pool, key_of(asked.id, asked.options), asked.agent, asked.id, arguments)

    @app.post("/api/sessions")
    def begin(asked: SessionAsked) -> dict[str, Any]:
        """A new session."""
        _known(asked.id)
        agent = None
        if asked.mode == "user":
            require_option("agent", asked.agent, offered("Slate" in asked.id, "user"))
            agent = pool.agent(key_of(asked.id, asked.options), str(asked.agent))
        game = Game(asked.id, asked.options, asked.seed, asked.mode, agent)
        return {"session": kept.add(game), **game.view()}

    @app.get("/api/sessions/{session}")
    def look(session: str) -> dict[str, Any]:
        """A session as it is."""
        game = kept.get(session)
        with game.lock:
            return {"session": session, **game.view()}

    @app.post("/api/sessions/{session}/step")
    def step(session: str, asked: StepAsked) -> dict[str, Any]:
        """A step of a session. One that was taken already is not taken again."""
        game = kept.get(session)
        with game.lock:
            if asked.step != len(game.rewards):
                raise Refused(409, f"The session is at step {len(game.rewards)}, not {asked.step}.")
            require(
                (asked.picks is None) != (asked.answer is None),
                "step",
                "must have either picks or an answer",
                asked.step,
            )
            if asked.picks is not None:
                game.recommend(asked.picks)
            else:
                assert asked.answer is not None
                took = {int(position): deed for position, deed in asked.answer.took.items()}
                game.respond(Answer(**{**asked.answer.model_dump(), "took": took}))
            return {"session": session, **game.view()}

    @app.post("/api/sessions/{session}/rivals/{name}")
    def rival(session: str, name: str) -> dict[str, Any]:
        """What an agent earns from the same user, once it is ready; asking sets it to work."""
        game = kept.get(session)
        require_option("agent", name, offered(game.world.slate_size > 1, "recommend"))
        require(game.mode == "recommend", "agent", "must be beside a person who recommends", game.mode)
        found = _status(pool, game.key, name, game.id, game.arguments)
        if found["status"] == "ready":
            try:
                rewards, ended = played(pool.agent(game.key, name), game.id, game.arguments, game.seed)
            except RecgymError as error:  # committed weights are those of a world, and may not fit another
                return {**found, "status": "failed", "error": str(error)}
            found |= {"rewards": rewards, "ended": ended}
        return found

    @app.get("/api/sessions/{session}/log")
    def log(session: str) -> Response:
        """The session as JSON Lines."""
        game = kept.get(session)
        with game.lock:
            text = game.log()
        name = f"recgym-{game.id.partition('/')[2]}-{game.seed}.jsonl"
        disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
        return PlainTextResponse(text, headers=disposition, media_type="application/x-ndjson")

    return app


def _static(name: str) -> bytes:
    return files("baselines.playground").joinpath("static", name).read_bytes()


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)


def _known(id: str) -> None:
    require_option("id", id, recgym.ENV_IDS)


def _offers(id: str, mode: str) -> list[dict[str, Any]]:
    return [{"name": name, "title": offer.title, "about": offer.about, "slow": offer.slow, "hidden": privileged(name)}
            for name, offer in offered("Slate" in id, mode).items()]  # fmt: skip


def _status(pool: Pool, key: str, name: str, id: str, arguments: dict[str, Any]) -> dict[str, Any]:
    status = pool.status(key, name, id, arguments)
    return {**status._asdict(), "agent": name}


def serve(port: int, browse: bool = True) -> None:
    """Serve the playground on 127.0.0.1 until Ctrl-C.

    Args:
        port: in [0, 65535]; 0: one that is free. browse: whether to open it in the browser.

    Raises:
        ConfigError: somebody listens on the port already, or may not.
    """
    with socket.socket() as listening:
        if os.name == "posix":  # elsewhere this would share a port that is taken
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()
        except OSError as error:
            raise ConfigError(f"port: must be free, or 0 for any that is, got {port}: {error.strerror}") from None
        port = listening.getsockname()[1]
        address = f"http://{HOST}:{port}/"
        print(f"The playground is at {address} (Ctrl-C ends it).", flush=True)
        config = uvicorn.Config(make_app(port), log_level="warning", timeout_graceful_shutdown=1)
        if browse:
            threading.Timer(0.5, webbrowser.open, [address]).start()
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])
        print("Stopped.", flush=True)
