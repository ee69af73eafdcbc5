"""What other libraries see: Gymnasium's checker, vectorisers, wrappers; Stable-Baselines3, MO-Gymnasium."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

import recgym
from recgym.compat import AutoresetMode
from recgym.envs import RecEnv, RecVectorEnv


def forms() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every id with every action form that it can have, in flat and dict observation."""
    for env_id in recgym.ENV_IDS:
        actions = ("slate", "embedding", "weights") if "Slate" in env_id else ("item", "slate", "embedding", "weights")
        for action in actions:
            for observation in ("flat", "dict"):
                yield env_id, {"action": action, "observation": observation}


FORMS = [pytest.param(env_id, options, id="-".join([env_id[7:-3], *options.values()])) for env_id, options in forms()]


@pytest.mark.parametrize(("env_id", "options"), FORMS)
def test_gymnasium_finds_nothing(env_id: str, options: dict[str, Any]) -> None:
    check_env(gym.make(env_id, **options).unwrapped, skip_render_check=True)


@pytest.mark.parametrize(
    "options", [{"observation": "latent"}, {"null_action": True}, {"candidates": "all", "items": 60}], ids=str
)
@pytest.mark.parametrize("env_id", recgym.ENV_IDS)
def test_gymnasium_finds_nothing_in_other_options(env_id: str, options: dict[str, Any]) -> None:
    check_env(gym.make(env_id, **options).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("env_id", recgym.ENV_IDS)
def test_gymnasium_finds_nothing_in_the_render_modes(env_id: str) -> None:
    check_env(gym.make(env_id).unwrapped)


@pytest.mark.parametrize(("env_id", "options"), FORMS)
def test_vector_reward_through_mo_gymnasium(env_id: str, options: dict[str, Any]) -> None:
    """Gymnasium's checker asks for a float; MO-Gymnasium's own wrapper makes one of the vector."""
    mo_gymnasium = pytest.importorskip("mo_gymnasium")
    env = gym.make(env_id, reward="vector", disable_env_checker=True, **options)
    weight = np.linspace(0.5, 1.5, env.unwrapped.reward_space.shape[0])  # type: ignore[attr-defined]
    scalar = mo_gymnasium.wrappers.LinearReward(env, weight=weight)
    scalar.reset(seed=1)
    _, reward, _, _, info = scalar.step(scalar.action_space.sample())
    assert float(reward) == pytest.approx(float(info["objectives"] @ weight), rel=1e-5, abs=1e-6)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version.*")
        check_env(_Bare(scalar), skip_render_check=True)


class _Bare(gym.Env[Any, Any]):
    """A wrapped environment as one of its own, for the checker refuses wrappers."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self.env, self.spec, self.metadata = env, env.spec, env.metadata
        self.observation_space, self.action_space, self.render_mode = (
            env.observation_space,
            env.action_space,
            env.render_mode,
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.env.unwrapped._np_random = self.np_random  # the checker looks at the generator of the outermost env
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        info["reward_weights"] = info["reward_weights"].copy()  # the wrapper hands out its own array each time
        return observation, float(reward), terminated, truncated, info


@pytest.mark.parametrize("env_id", recgym.ENV_IDS)
def test_vector_reward_raises_gymnasiums_one_known_warning(env_id: str) -> None:
    """The passive checker, off by default, wants a number; nothing else may be said of a vector reward."""
    for checker in (False, True):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            env = gym.make(env_id, reward="vector", **({"disable_env_checker": False} if checker else {}))
            env.reset(seed=0)
            env.step(env.action_space.sample())
        texts = {str(w.message) for w in caught}
        assert len(texts) == checker, texts
        known = "The reward returned by `step()` must be a float, int, np.integer or np.floating"
        assert all(known in text for text in texts)


@pytest.mark.parametrize(("env_id", "options"), FORMS)
def test_gymnasiums_passive_checker_finds_nothing(env_id: str, options: dict[str, Any]) -> None:
    """Off by default, since it doubles the cost of a step."""
    env = gym.make(env_id, disable_env_checker=False, **options)
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(3):
        if any(env.step(env.action_space.sample())[2:4]):
            env.reset()


@pytest.mark.parametrize(("env_id", "options"), FORMS)
def test_stable_baselines3_finds_nothing(env_id: str, options: dict[str, Any]) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    env = gym.make(env_id, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checker.check_env(env.unwrapped, warn=True, skip_render_check=True)
    texts = [str(w.message) for w in caught]
    if options["observation"] == "dict":
        assert texts, "two-dimensional keys are remarked on"
        assert all("unconventional shape" in text for text in texts), texts
    else:
        assert not texts


# --- specs


SPEC_OPTIONS = [
    {},
    {"observation": "dict", "slate_size": 3},
    {"reward": {"click": 2.0}},
    {"choice": {"kind": "Cascade", "attention": 0.8}},
    {"candidates": "all", "items": 40},
    {"horizon": 7, "cold_start": 0.25},
    {
        "dynamics": [
            {"kind": "Fatigue"},
            {"kind": "Satisfaction"},
            {"kind": "Satiation"},
            {"kind": "Adaptation", "to": "offers", "by": "least"},
        ]
    },
    {"candidates": {"kind": "Uniform", "candidates": 6}},
    {"reward": "vector"},
]


@pytest.mark.parametrize("options", SPEC_OPTIONS, ids=str)
def test_specs_round_trip_through_json(options: dict[str, Any]) -> None:
    env = gym.make("recgym/Ecommerce-v0", disable_env_checker=True, **options)
    text = env.spec.to_json()  # type: ignore[union-attr]
    json.loads(text)
    again = gym.make(EnvSpec.from_json(text), disable_env_checker=True)
    a, b = env.reset(seed=5)[0], again.reset(seed=5)[0]
    for seed in range(5):
        env.action_space.seed(seed)
        action = env.action_space.sample()
        assert flat(a).tobytes() == flat(b).tobytes()
        (a, ra, over, *_), (b, rb, *_) = env.step(action), again.step(action)
        assert np.array_equal(ra, rb)
        if over:
            break


def test_a_world_in_a_folder_has_a_spec_that_can_be_written(tmp_path: Path) -> None:
    """Minari keeps the spec as JSON and makes the env from it again."""
    world = recgym.load_world("news", items=60).replace(horizon=9)
    with pytest.raises(recgym.ConfigError, match=r"World\.save and pass the folder"):
        gym.make("recgym/News-v0", world=world).spec.to_json()  # type: ignore[union-attr]
    world.save(tmp_path / "mine")
    env = gym.make("recgym/News-v0", world=tmp_path / "mine")
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))  # type: ignore[union-attr]
    envs = (env, again, gym.make("recgym/News-v0", world=world))
    steps = [[env.reset(seed=3)[0], *(env.step(action)[0] for action in range(5))] for env in envs]
    for other in steps[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(steps[0], other, strict=True))


def flat(observation: Any) -> Any:
    return (
        np.concatenate([observation[k].ravel() for k in sorted(observation)])
        if isinstance(observation, dict)
        else observation
    )


def test_parts_as_dicts_are_used() -> None:
    env = gym.make("recgym/EcommerceSlate-v0", choice={"kind": "Cascade", "attention": 0.8})
    assert env.unwrapped.world.choice.attention == 0.8  # type: ignore[attr-defined]
    env = gym.make("recgym/Ecommerce-v0", departure={"kind": "Never"}, preference={"kind": "Cosine", "scale": 2.0})
    assert env.unwrapped.world.preference.scale == 2.0  # type: ignore[attr-defined]


def test_ids_are_registered_in_full() -> None:
    assert len(recgym.ENV_IDS) == 6
    for env_id in recgym.ENV_IDS:
        spec = gym.spec(env_id)
        assert spec.max_episode_steps is None  # the horizon belongs to the World
        assert not spec.nondeterministic
        unwrapped = gym.make(env_id).unwrapped
        assert isinstance(unwrapped, RecEnv)
        assert type(unwrapped) is not RecEnv  # a class per domain, with its documentation
        assert len(type(unwrapped).__doc__ or "") > 500


@pytest.mark.parametrize("env_id", recgym.ENV_IDS)
def test_docstrings_answer_under_gymnasiums_headings(env_id: str) -> None:
    doc = type(gym.make(env_id).unwrapped).__doc__ or ""
    headings = (
        "Description",
        "Action Space",
        "Observation Space",
        "Rewards",
        "Starting State",
        "Episode End",
        "Arguments",
        "Version History",
    )
    missing = [heading for heading in headings if heading.lower() not in doc.lower()]
    assert not missing, f"{env_id}: no {missing}"


# --- vectorisers and wrappers


@pytest.mark.parametrize("observation", ["flat", "dict"])
@pytest.mark.parametrize("env_id", recgym.ENV_IDS)
def test_sync_and_native_vector_envs_agree(env_id: str, observation: str) -> None:
    native = gym.make_vec(env_id, num_envs=3, observation=observation)
    sync = gym.make_vec(env_id, num_envs=3, vectorization_mode="sync", observation=observation)
    assert isinstance(native, RecVectorEnv)
    assert not isinstance(sync, RecVectorEnv)
    assert native.single_observation_space == sync.single_observation_space
    assert native.single_action_space == sync.single_action_space
    a, b = native.reset(seed=8)[0], sync.reset(seed=8)[0]
    native.action_space.seed(0)
    for _ in range(130):  # across the ends of episodes: both reset on the next step
        assert np.array_equal(flat(a), flat(b))
        action = native.action_space.sample()
        (a, ra, ta, ua, _), (b, rb, tb, ub, _) = native.step(action), sync.step(action)
        assert np.array_equal(ra, rb)
        assert np.array_equal(ta, tb)
        assert np.array_equal(ua, ub)
    sync.close()


def test_async_and_native_vector_envs_agree() -> None:
    native = gym.make_vec("recgym/News-v0", num_envs=2)
    parallel = gym.make_vec(
        "recgym/News-v0", num_envs=2, vectorization_mode="async", vector_kwargs={"context": "spawn"}
    )
    try:
        a, b = native.reset(seed=8)[0], parallel.reset(seed=8)[0]
        for step in range(20):
            assert np.array_equal(a, b)
            action = np.array([step % 20, (3 * step) % 20])
            a, b = native.step(action)[0], parallel.step(action)[0]
    finally:
        parallel.close()


SAME_STEP_STATISTICS = tuple(map(int, gym.__version__.split(".")[:2])) >= (1, 4)  # its wrapper says 0 before


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP][: 1 + SAME_STEP_STATISTICS])
@pytest.mark.parametrize("observation", ["flat", "dict"])
def test_gymnasiums_vector_wrappers(mode: AutoresetMode, observation: str) -> None:
    env = gym.make_vec("recgym/News-v0", num_envs=16, horizon=9, autoreset_mode=mode, observation=observation)
    wrapped = gym.wrappers.vector.RecordEpisodeStatistics(env)
    wrapped.reset(seed=0)
    returns, lengths, paid = [], [], np.zeros(16)
    seen = 0
    for _ in range(30):
        _, reward, terminated, truncated, info = wrapped.step(np.zeros(16, int))
        paid += reward
        for row in np.flatnonzero(terminated | truncated):
            returns.append(float(info["episode"]["r"][row]))
            lengths.append(int(info["episode"]["l"][row]))
            assert returns[-1] == pytest.approx(paid[row], rel=1e-5)
            paid[row] = 0
            seen += 1
    assert seen > 16
    assert max(lengths) == 9


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_info_as_a_list_of_dicts(mode: AutoresetMode) -> None:
    env = gym.make_vec("recgym/NewsSlate-v0", num_envs=4, horizon=3, autoreset_mode=mode)
    wrapped = gym.wrappers.vector.DictInfoToList(env)
    _, info = wrapped.reset(seed=0)
    assert len(info) == 4
    assert info[2]["action_mask"].shape == (20,)
    for _ in range(5):
        _, _, _, _, info = wrapped.step(wrapped.action_space.sample())
        assert [set(row) >= {"objectives", "slate", "click", "probability", "action_mask"} for row in info] == [
            True
        ] * 4
        assert info[1]["slate"].shape == (5,)


def test_masked_resets_go_through_wrappers() -> None:
    env = gym.make_vec("recgym/Ecommerce-v0", num_envs=4, horizon=2, autoreset_mode=AutoresetMode.DISABLED)
    wrapped = gym.wrappers.vector.RecordEpisodeStatistics(env)
    wrapped.reset(seed=0)
    for _ in range(2):
        _, _, terminated, truncated, _ = wrapped.step(np.zeros(4, int))
    assert (terminated | truncated).all()
    mask = np.array([True, False, True, False])
    wrapped.reset(options={"reset_mask": mask})
    assert env.unwrapped.get_state().users.episode.tolist() == [1, 0, 1, 0]  # type: ignore[attr-defined]


def test_gymnasiums_single_wrappers() -> None:
    env = gym.make("recgym/News-v0")
    for wrapper in (gym.wrappers.RecordEpisodeStatistics, gym.wrappers.NormalizeReward):
        env = wrapper(env)
    env = gym.wrappers.RescaleAction(gym.make("recgym/News-v0", action="embedding"), np.float32(-2.0), np.float32(2.0))
    env.reset(seed=0)
    env.step(env.action_space.sample())


def test_flat_is_gymnasiums_flattening_of_dict() -> None:
    """So the space must list its keys in the order of the layout (a plain dict would be sorted)."""
    flattened = gym.wrappers.FlattenObservation(gym.make("recgym/News-v0", observation="dict"))
    plain = gym.make("recgym/News-v0")
    assert np.array_equal(flattened.reset(seed=0)[0], plain.reset(seed=0)[0])
    assert flattened.observation_space == plain.observation_space


# --- Stable-Baselines3 and sb3-contrib


def test_maskable_ppo_reads_the_masks() -> None:
    contrib = pytest.importorskip("sb3_contrib")
    env = gym.make("recgym/LiveStream-v0", candidates=6)
    model = contrib.MaskablePPO(
        "MlpPolicy", env, n_steps=16, batch_size=8, n_epochs=1, seed=0, device="cpu", policy_kwargs={"net_arch": [8]}
    )
    model.learn(32)
    observation, _ = env.reset(seed=0)
    for _ in range(10):
        mask = env.unwrapped.action_masks()  # type: ignore[attr-defined]
        action, _ = model.predict(observation, action_masks=mask, deterministic=True)
        assert mask[int(action)]
        observation, *_ = env.step(action)


def test_action_masker_of_slates() -> None:
    masker = pytest.importorskip("sb3_contrib.common.wrappers").ActionMasker
    get_masks = pytest.importorskip("sb3_contrib.common.maskable.utils").get_action_masks
    env = masker(gym.make("recgym/NewsSlate-v0"), lambda e: e.unwrapped.action_masks())
    env.reset(seed=0)
    assert get_masks(env).shape == (5 * 20,)


@pytest.mark.parametrize("algorithm", ["DQN", "PPO", "A2C"])
def test_stable_baselines3_trains(algorithm: str) -> None:
    sb3 = pytest.importorskip("stable_baselines3")
    env = gym.make("recgym/News-v0", candidates=5)
    options: dict[str, Any] = {
        "DQN": {"learning_starts": 8},
        "PPO": {"n_steps": 16, "batch_size": 8, "n_epochs": 1},
        "A2C": {},
    }[algorithm]
    model = getattr(sb3, algorithm)("MlpPolicy", env, seed=0, device="cpu", policy_kwargs={"net_arch": [8]}, **options)
    model.learn(40)


def test_environments_can_be_copied_and_pickled() -> None:
    """Planners deep-copy environments, and executors send them to other processes."""
    import copy
    import pickle

    env = gym.make("recgym/News-v0", disable_env_checker=True).unwrapped
    env.reset(seed=0)
    env.step(3)
    for twin in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        a, b = copy.deepcopy(env), twin
        for action in (1, 2, 3):
            x, y = a.step(action), b.step(action)
            assert np.array_equal(x[0], y[0])
            assert x[1] == y[1]


def test_what_could_not_be_made_can_be_closed() -> None:
    """`VectorEnv.__del__` of Gymnasium before 1.4 closes an env whose constructor has raised."""
    RecVectorEnv.__new__(RecVectorEnv).close()


# --- conventions that clients rely on


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_an_option_that_is_not_there_is_a_type_error(make: Any) -> None:
    """TorchRL tries `frameskip`, and goes on without it after a TypeError with these words."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'frameskip'") as caught:
        make("recgym/Ecommerce-v0", frameskip=1)
    assert isinstance(caught.value, recgym.OptionError)
    assert isinstance(caught.value, recgym.ConfigError)
    with pytest.raises(recgym.OptionError, match="Did you mean 'cold_start'"):
        make("recgym/Ecommerce-v0", coldstart=0.5)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_autoreset_mode_is_where_gymnasium_has_it(mode: AutoresetMode) -> None:
    native = gym.make_vec("recgym/News-v0", num_envs=2, autoreset_mode=mode.value)
    assert native.autoreset_mode is native.metadata["autoreset_mode"] is mode  # type: ignore[attr-defined]


def test_call_and_attributes_are_those_of_gymnasiums_vector_envs() -> None:
    native = gym.make_vec("recgym/NewsSlate-v0", num_envs=3, render_mode="ansi")
    sync = gym.make_vec("recgym/NewsSlate-v0", num_envs=3, vectorization_mode="sync", render_mode="ansi")
    for env in (native, sync):
        env.reset(seed=0)
    for name in ("action_masks", "render"):
        a, b = native.call(name), sync.call(name)  # type: ignore[attr-defined]
        assert type(a) is type(b) is tuple
        assert len(a) == 3
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    for name in ("objectives", "render_mode", "action_space", "observation_space"):
        assert native.get_attr(name) == sync.get_attr(name)  # type: ignore[attr-defined]
    for env in (native, sync):
        for values in (7, [7, 7, 7]):
            env.set_attr("task", values)  # type: ignore[attr-defined]
            assert env.get_attr("task") == (7, 7, 7)  # type: ignore[attr-defined]
        with pytest.raises(AttributeError, match="tsak"):
            env.get_attr("tsak")  # type: ignore[attr-defined]
        with pytest.raises(ValueError, match="alues"):
            env.set_attr("task", [7, 7])  # type: ignore[attr-defined]
    with pytest.raises(recgym.ConfigError, match="share one env"):
        native.set_attr("task", [7, 7, 8])  # type: ignore[attr-defined]
    with pytest.raises(recgym.ConfigError, match="all users at once"):
        native.call("reset")  # type: ignore[attr-defined]
    assert native.get_attr("world")[0].slate_size == 5  # type: ignore[attr-defined]
    gym.make_vec("recgym/News-v0", num_envs=2, reward=lambda feedback, *_: feedback.click[:, 0]).get_attr("reward")  # type: ignore[attr-defined]


@pytest.mark.parametrize("fused", [False, True])
def test_actions_are_sampled_by_the_mask_as_in_gymnasium(fused: bool) -> None:
    """Taxi's convention: `info["action_mask"]` is int8, and `space.sample` takes it."""
    one, slate = gym.make("recgym/LiveStream-v0"), gym.make("recgym/LiveStreamSlate-v0")
    for env, as_mask in ((one, lambda mask: mask), (slate, lambda mask: (mask,) * 5)):
        _, info = env.reset(seed=0)
        if fused and env is one:  # compiling takes long
            assert env.unwrapped.fuse()  # type: ignore[attr-defined]
        for _ in range(5):
            assert info["action_mask"].dtype == np.int8
            action = env.action_space.sample(as_mask(info["action_mask"]))
            assert info["action_mask"][action].all()
            *_, info = env.step(action)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_actions_of_many_users_are_sampled_by_the_mask(mode: AutoresetMode) -> None:
    options: dict[str, Any] = dict(num_envs=4, horizon=3, autoreset_mode=mode, candidates="all", items=30)
    items, slates = (gym.make_vec(f"recgym/{id}-v0", **options) for id in ("Ecommerce", "EcommerceSlate"))
    one = slates.single_action_space
    for env, sample in (
        (items, lambda mask: items.action_space.sample(tuple(mask))),
        (slates, lambda mask: np.stack([one.sample((row,) * 5) for row in mask])),
    ):
        _, info = env.reset(seed=0)
        for _ in range(7):
            mask = info["action_mask"]
            assert mask.dtype == np.int8
            assert not mask.all()
            action = sample(mask)
            assert np.take_along_axis(mask, action.reshape(4, -1), axis=1).all()
            *_, info = env.step(action)
            if "final_info" in info:
                assert info["final_info"]["action_mask"].dtype == np.int8
