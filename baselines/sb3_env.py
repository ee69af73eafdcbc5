"""A batch of users of recgym as a vector env of Stable-Baselines3.

    env = SB3VecEnv(gymnasium.make_vec("recgym/News-v0", num_envs=64, autoreset_mode="SameStep"))
    model = stable_baselines3.PPO(CandidateActor, env)

Raffin et al., "Stable-Baselines3: reliable reinforcement learning implementations", JMLR 22(268), 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from recgym.compat import AutoresetMode
from recgym.envs import RecVectorEnv
from recgym.errors import require, unknown

Array = NDArray[Any]


class SB3VecEnv(VecEnv):
    """recgym's vector env with the interface of Stable-Baselines3.

    `infos` hold what Stable-Baselines3 reads, at ends of episodes: `terminal_observation`, `TimeLimit.truncated`, and
    `episode` with return "r" and length "l", as its `Monitor` would write. All users share one environment, so an
    attribute is the same for all of them, and methods are called on all rows at once.

    Args:
        env: a batch of users that resets itself in the same step, and pays one number per step.
        reward_scale: factor on the rewards; the returns in `infos` are without it.

    Raises:
        ConfigError: not a batch of users, another autoreset mode, or vector rewards.
    """

    def __init__(self, env: RecVectorEnv, reward_scale: float = 1.0) -> None:
        rule = (
            'must be users of gymnasium.make_vec(id, num_envs=64, autoreset_mode="SameStep"), without wrappers; '
            "a single env needs no SB3VecEnv, algorithms take it as it is"
        )
        require(isinstance(env, RecVectorEnv), "env", rule, env)
        mode = env.autoreset_mode
        require(mode is AutoresetMode.SAME_STEP, "autoreset_mode", "must be SameStep", mode.value)
        require(not env.vector_reward, "reward", "Stable-Baselines3 needs one number per step", "vector")
        self.env = env
        self.reward_scale = reward_scale
        self._returns, self._lengths = np.zeros(env.num_envs), np.zeros(env.num_envs, np.int64)
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> Any:
        """First observations. Seeds that `seed` has set are used once.

        Raises:
            ConfigError: `set_options` has set options; there are none.
        """
        for name in {name for options in self._options for name in options}:
            unknown("options", name, [])
        seeds = None if self._seeds[0] is None else self._seeds
        observation, _ = self.env.reset(seed=seeds)  # type: ignore[arg-type]
        self._reset_seeds()
        self._reset_options()
        self._returns[:], self._lengths[:] = 0, 0
        return observation

    def step_async(self, actions: Array) -> None:
        """Hand over the actions of the next `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, Array, Array, list[dict[str, Any]]]:
        """Observations, rewards (B,) float32, dones (B,) bool, and a dict for each user."""
        observation, reward, terminated, truncated, info = self.env.step(self._actions)
        done = terminated | truncated
        self._returns += reward
        self._lengths += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for row in np.flatnonzero(done):
            infos[row] = {
                "terminal_observation": info["final_obs"][row],
                "TimeLimit.truncated": bool(truncated[row]),
                "episode": {"r": float(self._returns[row]), "l": int(self._lengths[row])},
            }
        self._returns[done], self._lengths[done] = 0, 0
        return observation, np.asarray(self.reward_scale * reward, np.float32), done, infos

    def close(self) -> None:
        """Close the env."""
        self.env.close()

    def get_images(self) -> Sequence[Array | None]:
        """A picture of each user, or None where the env renders nothing."""
        return self.env.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of each user asked for, see `recgym.RecVectorEnv.call`.

        Raises:
            AttributeError: the env has no such attribute.
        """
        return self.env_method(attr_name, indices=indices)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the shared env.

        Raises:
            ConfigError: for some of the users only.
        """
        everybody = set(self._get_indices(indices)) == set(range(self.num_envs))
        require(everybody, "indices", "must be all users, who share one env", indices)
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """What a method of the env returns for the users asked for, see `recgym.RecVectorEnv.call`.

        Raises:
            AttributeError: the env has no such method. ConfigError: it changes all users at once.
        """
        rows = self.env.call(method_name, *method_args, **method_kwargs)
        return [rows[i] for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """True for `Monitor`, whose records the infos hold; there are no other wrappers."""
        return [issubclass(wrapper_class, Monitor) for _ in self._get_indices(indices)]
