"""What a GPU brings: ``python -m benchmarks.gpu OUT.json``, under ten minutes on one; ``--smoke`` in seconds, for tests.

It needs ``pip install "recgym[agents,cuda]"`` and a torch with CUDA, and writes one JSON object::

    {
      "machine": {"gpu": "...", "cpu": "...", "recgym": "...", "numba_cuda": "...", "torch": "..."},
      "speed": [{"id": "recgym/EcommerceSlate-v0", "users": 16384, "user_steps_per_second": ..., "steps": ...}, ...],
      "agreement": [{"id": ..., "users": ..., "steps": 100, "same_first_slates": true, "parted": ..., "worst": ...}, ...],
      "returns": [{"id": ..., "users": ..., "steps": ..., "cpu": [mean, sd], "cuda": [mean, sd], "z": ..., "z_square": ...}, ...],
      "learning": [{"device": "cuda", "users": ..., "user_steps_per_second": ..., "first": ..., "last": ...}, ...]
    }

speed: random actions that lie on the device, observations built, users who leave replaced ("SameStep"). agreement: the same
users and actions on both devices; `parted` is the share of users whose slates, clicks or flags were not the same throughout (a
click that hangs on a last digit), and `worst` the largest difference of an observation or reward of the others, relative to
max(1, |x|). returns: sums of rewards of other users on each device; z is the difference of the means in standard errors,
z_square that of the means of squares. learning: REINFORCE with one linear layer, wholly on a device, and the mean reward per
user-step of its first and last tenth.

**Not measured yet**: no GPU was at hand when this was written. The goal is 50 million user-steps/s for EcommerceSlate on one
H100.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import recgym
from recgym.compat import AutoresetMode
from recgym.cuda import SIMULATED, load, require_cuda
from recgym.envs import RecVectorEnv
from recgym.files import write_atomically

SLATES = tuple(f"recgym/{name}Slate-v0" for name in ("Ecommerce", "News", "LiveStream"))
PRESAMPLED = 16  # batches of actions, used in turn


def made(id: str, users: int, device: str) -> RecVectorEnv:
    """A registered environment on a device."""
    env: Any = gym.make_vec(id, num_envs=users, device=device, autoreset_mode=AutoresetMode.SAME_STEP)
    return env.unwrapped


def presampled(env: RecVectorEnv, n: int = PRESAMPLED) -> list[Any]:
    """Random actions of all users."""
    env.action_space.seed(0)
    return [env.action_space.sample() for _ in range(n)]


def speed(id: str, users: int, seconds: float) -> dict[str, Any]:
    """User-steps per second on the device."""
    env, cuda = made(id, users, "cuda"), load()
    actions = [cuda.to_device(one) for one in presampled(env)]
    env.reset(seed=0)
    env.step(actions[0])
    cuda.synchronize()
    began, steps = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        for action in actions:
            env.step(action)
        cuda.synchronize()
        steps += len(actions)
    return {"id": id, "users": users, "user_steps_per_second": steps * users / passed, "steps": steps}


def agreement(ours: RecVectorEnv, theirs: RecVectorEnv, steps: int) -> dict[str, Any]:
    """The same users on the device and on the CPU, see the module."""
    users, worst, together = ours.num_envs, 0.0, np.ones(ours.num_envs, np.bool_)
    actions = presampled(theirs, steps)

    def differ(a: Any, b: Any) -> Any:
        """(B,): the largest relative difference of each user."""
        b = np.asarray(b, np.float64).reshape(users, -1)
        off = np.abs(np.asarray(a).reshape(users, -1) - b) / np.maximum(1, np.abs(b))
        return off.max(axis=1, initial=0.0)

    off = differ(ours.reset(seed=0)[0], theirs.reset(seed=0)[0])
    same_first = True
    for t, action in enumerate(actions):
        a, b = ours.step(action), theirs.step(action)
        pairs = [(a[i], b[i]) for i in (2, 3)] + [(a[4][name], b[4][name]) for name in ("slate", "click")]
        same = np.array([differ(*pair) == 0 for pair in pairs]).all(axis=0)
        if t == 0:
            same_first = bool((np.asarray(a[4]["slate"]) == b[4]["slate"]).all())
        together &= same
        off = np.maximum(differ(a[0], b[0]), differ(a[1], b[1]))
        parted = together & (off > 0.01)  # other candidates, by a last digit of a score
        together &= ~parted
        worst = max(worst, float(off[together].max(initial=0.0)))
    return {
        "users": users,
        "steps": steps,
        "same_first_slates": same_first,
        "parted": float(1 - together.mean()),
        "worst": worst,
    }


def returns(ours: RecVectorEnv, theirs: RecVectorEnv, steps: int) -> dict[str, Any]:
    """Sums of rewards of other users on each device, see the module."""
    users, sums = ours.num_envs, []
    for env, seed in ((ours, 10**6), (theirs, 2 * 10**6)):
        env.reset(seed=seed)
        total = np.zeros(users)
        for action in presampled(env, steps):
            total += np.asarray(env.step(action)[1])
        sums.append(total)

    def z(a: Any, b: Any) -> float:
        error = np.sqrt((a.var() + b.var()) / users)
        return float((a.mean() - b.mean()) / error) if error > 0 else 0.0

    cuda, cpu = sums
    spread = {name: [float(x.mean()), float(x.std())] for name, x in (("cpu", cpu), ("cuda", cuda))}
    return {"users": users, "steps": steps, **spread, "z": z(cuda, cpu), "z_square": z(cuda**2, cpu**2)}


def learning(id: str, users: int, device: str, iterations: int, length: int = 20) -> dict[str, Any]:
    """REINFORCE: an item for each position of the slate, from a linear layer of the observation.

    Observations, actions and rewards stay on the device. On the CPU, the same lines run on NumPy's arrays.
    """
    env, where = made(id, users, device), "cuda" if device == "cuda" and not SIMULATED else "cpu"
    tensor: Any = torch.from_dlpack
    S, n = env.world.slate_size, env.actions.n
    torch.manual_seed(0)
    policy = torch.nn.Linear(env.observations.width, S * n).to(where)
    optimizer = torch.optim.Adam(policy.parameters(), 1e-3)
    observation, info = env.reset(seed=0)
    means, began = [], 0.0
    for i in range(iterations):
        if i == 1:  # compiled by now
            _synchronize(where)
            began = time.perf_counter()
        log_probs, rewards = [], []
        for _ in range(length):
            mask = tensor(info["action_mask"])[:, None]
            logits = policy(tensor(observation)).reshape(users, S, n).masked_fill(mask == 0, -1e9)
            choice = torch.distributions.Categorical(logits=logits)
            action = choice.sample()
            log_probs.append(choice.log_prob(action).sum(axis=1))
            action = action if env.actions.shape else action[:, 0]
            given = action if device == "cuda" and not SIMULATED else action.numpy()
            observation, reward, _, _, info = env.step(given)
            rewards.append(tensor(reward).float())
        gain = torch.stack(rewards)
        to_go = gain.flip(0).cumsum(0).flip(0)
        advantage = to_go - to_go.mean(dim=1, keepdim=True)
        loss = -(torch.stack(log_probs) * advantage / (advantage.std() + 1e-6)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        means.append(gain.mean())
    _synchronize(where)
    passed, tenth = time.perf_counter() - began, max(1, iterations // 10)
    curve = torch.stack(means).tolist()
    return {
        "id": id, "device": device, "users": users, "iterations": iterations, "steps_per_iteration": length,
        "user_steps_per_second": (iterations - 1) * length * users / passed,
        "first": float(np.mean(curve[:tenth])), "last": float(np.mean(curve[-tenth:])),
    }  # fmt: skip


def _synchronize(where: str) -> None:
    if where == "cuda":
        torch.cuda.synchronize()


def machine() -> dict[str, str]:
    """What was measured on."""

    def known(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return ""

    gpu = "numba's simulator" if SIMULATED else str(load().get_current_device().name)
    versions = {name.replace("-", "_"): known(name) for name in ("numba", "numba-cuda", "torch", "numpy")}
    return {"gpu": gpu, "cpu": platform.processor() or platform.machine(), "recgym": recgym.__version__, **versions}


def measured(smoke: bool) -> dict[str, Any]:
    """All of the output; with `smoke` of few users and steps."""
    ids = sorted(id for id in gym.registry if id.startswith("recgym/"))
    result: dict[str, Any] = {"machine": machine(), "speed": [], "agreement": [], "returns": [], "learning": []}
    for id in SLATES[:1] if smoke else SLATES:
        for users in (2,) if smoke else (2**14, 2**16, 2**18):
            result["speed"].append(speed(id, users, 0.01 if smoke else 4.0))
    for id in SLATES[:1] if smoke else ids:
        ours, theirs = (made(id, 2 if smoke else 1024, device) for device in ("cuda", "cpu"))
        result["agreement"].append({"id": id, **agreement(ours, theirs, 2 if smoke else 100)})
        result["returns"].append({"id": id, **returns(ours, theirs, 2 if smoke else 100)})
    for device in ("cuda", "cpu"):
        result["learning"].append(learning(SLATES[0], 2 if smoke else 4096, device, 2, 2) if smoke else
                                  learning(SLATES[0], 4096, device, 200 if device == "cuda" else 20))  # fmt: skip
    return result


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description="What a GPU brings; see the module.")
    parser.add_argument("out", type=Path, help="where the JSON goes")
    parser.add_argument("--smoke", action="store_true", help="few users and steps, to see that it runs")
    given = parser.parse_args()
    require_cuda()
    text = json.dumps(measured(given.smoke), indent=1)
    write_atomically(given.out, text.encode())
    print(text)


if __name__ == "__main__":
    main()
