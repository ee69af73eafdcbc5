"""The pictures of sessions: `python docs/pictures.py` draws the one of the landing page anew."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import gymnasium as gym

from baselines import make_agent
from recgym.compat import AutoresetMode

SIZE = (900, 525)
SMALL = (720, 420)  # of those that move, one for each environment
LIMIT = 60_000  # bytes of each of these


def frames(id: str, agent: str, steps: int, every: int = 1, seed: int = 0) -> list[Any]:
    """Pictures of one user's session, shown what an agent recommends: after the last step, and every so many before.

    An agent that cannot play there, as it misses something to rank by, is replaced by random slates.
    """
    env: Any = gym.make_vec(id, num_envs=1, render_mode="rgb_array", autoreset_mode=AutoresetMode.DISABLED)
    observation, info = env.reset(seed=seed)
    player = make_agent(agent)
    player.start(env)
    drawn = []
    for t in range(1, steps + 1):
        observation, _, terminated, truncated, info = env.step(player.act(observation, info["action_mask"]))
        over = bool(terminated[0] or truncated[0])
        if over or (steps - t) % every == 0:
            drawn.append(env.render()[0])
        if over:
            break
    return drawn


def webp(drawn: list[Any], milliseconds: int = 700, quality: int = 65, size: tuple[int, int] = SIZE) -> bytes:
    """Pictures as a WebP file, which moves if there is more than one."""
    from PIL import Image

    images = [Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS) for picture in drawn]
    file = io.BytesIO()
    more: dict[str, Any] = (
        dict(save_all=True, append_images=images[1:], loop=0, duration=[milliseconds] * (len(images) - 1) + [2500])
        if images[1:]
        else {}
    )
    images[0].save(file, format="WEBP", quality=quality, method=4, **more)
    return file.getvalue()


def session(id: str, steps: int = 20) -> tuple[bytes, bytes]:
    """The pictures on an environment's page: every second step of a user whom the myopic oracle serves, moving, and the last.

    The moving one is made of fewer bytes than `LIMIT`: coarser, then of fewer steps, as far as it has to be.
    """
    drawn = frames(id, "myopic", steps=steps, every=2)
    moving = b""
    for chosen in (drawn, drawn[::-2][::-1], drawn[::-4][::-1]):
        for quality in (60, 45, 30):
            moving = webp(chosen, 900, quality, SMALL)
            if len(moving) < LIMIT:
                return moving, webp(drawn[-1:])
    raise AssertionError(f"{id}: {len(moving)} bytes")


def main() -> None:
    """Draw the moving picture of the landing page."""
    path = Path(__file__).parent / "assets/session.webp"
    path.write_bytes(webp(frames("recgym/EcommerceSlate-v0", "best-known", steps=50, every=2, seed=124)))
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
