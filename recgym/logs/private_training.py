"""Networks trained on logs with differential privacy of users: DP-SGD, with opacus.

    made = private_training(module, torch.optim.Adam(module.parameters(), 0.01), losses, users=U, batch=256, steps=500,
                            epsilon=2.0, delta=1e-6)
    made.epsilon, made.statement

What is trained must be what all users share: vectors of items, effects of positions, a network. **A user's own vector is
not among it.** It would be learned from one user, from whom the noise hides it by design. Keep it beside, learn it from the
user's rows and the shared parameters, never hand it out, and draw the population from `private_moments` of these vectors.
That costs no privacy but what the moments cost: what a user sends to a step may depend on her rows and on all that was
released before.

Needs the extra `logs` and opacus (pip install "opacus>=1.6"), in an environment of its own: opacus' wheel installs a package `benchmarks`, which
hides or overwrites the one of recgym, so that `python -m benchmarks` and `python -m recgym fit` may not run there.
"""

from __future__ import annotations

import math
import secrets
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recgym.errors import ConfigError, require, require_count, require_number
from recgym.logs.privacy import UNIT

if TYPE_CHECKING:
    import torch

Losses = Callable[["torch.nn.Module", "torch.Tensor"], "torch.Tensor"]


@dataclass(frozen=True)
class PrivateTraining:
    """What a training cost.

    Attributes:
        epsilon, delta: of the trained parameters, all steps together.
        noise: standard deviation of the noise in a sum of gradients, in units of `clip`. clip: the largest norm of a
            user's gradient. rate: probability with which a step has a user. steps: how many there were.
    """

    epsilon: float
    delta: float
    noise: float
    clip: float
    rate: float
    steps: int

    @property
    def statement(self) -> dict[str, Any]:
        """What was done, as plain JSON values, for the report."""
        names = ("epsilon", "delta", "noise", "clip", "rate", "steps")
        return {
            "mechanism": "DP-SGD with a user's rows as one example (Abadi et al. 2016)",
            "accountant": "opacus, PRV (Gopi, Lee and Wutschitz 2021)",
            "unit": UNIT,
            "public": "the number of users: the rate is the size of a step over it",
            **{name: getattr(self, name) for name in names},
        }

    def epsilon_with(self, releases: Sequence[float], delta: float | None = None) -> float:
        """The epsilon of this training and of other releases of the same users, together.

        Args:
            releases: sigma / sensitivity of each, such as of `private_counts`. delta: that of the training, unless given.
        """
        delta = self.delta if delta is None else delta
        releases = [require_number("releases", z, 1e-3, 1e9) for z in releases]
        return _epsilon([(self.noise, self.rate, self.steps), *((z, 1.0, 1) for z in releases)], delta)


def private_training(
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: Losses,
    *,
    users: int,
    batch: int,
    steps: int,
    epsilon: float,
    delta: float,
    clip: float = 1.0,
    seed: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> PrivateTraining:
    """Train with (epsilon, delta)-differential privacy of users: a user with all her rows is one example.

    Each step has each user with probability batch / users, independently. Her gradient, that of her one loss, is shortened
    to the norm `clip` where it is longer; the sum gets Gaussian noise of standard deviation noise * clip in each
    parameter, is divided by `batch`, and goes to the optimizer. opacus shortens (by "ghost clipping", which never holds a
    gradient of each user), adds the noise and accounts; the noise is the least, to 1 % of epsilon, that its accountant allows.

    Args:
        module: in training mode and on the CPU, changed in place. Its parameters all belong to `Embedding` and `Linear`
            layers, so a bias of items or positions is an ``Embedding(n, 1)``. Each layer is called once in a forward pass,
            with users in the first dimension: (B, rows) numbers of items, say. **Weights are used by these calls alone**:
            norms are found from calls, and a weight that the loss also reads directly would be clipped too little.
        optimizer: over parameters of the module, such as Adam; parameters that should stay have ``requires_grad`` False.
        losses: (module, chosen (B,) int64 numbers of users) -> (B,) losses, B >= 1. The loss of a user depends on no other
            user's rows: no batch normalisation, no negatives from the others. Pad rows and give the padding weight 0.
        users: U, which counts as public. batch: users of a step on average, in [1, U]. steps: >= 1.
        epsilon: in [0.01, 100]. delta: in [1e-15, 0.1], below 1 / U. clip: > 0.
        seed: None draws one from the operating system. A given one is for tests; whoever knows it can take the noise away.
            Noise comes from torch's generator, which is no cryptographic one: opacus has such a mode, by torchcsprng, which
            is no longer made. Each number is the sum of four, against attacks on the bits of floating-point noise.
        progress: called after each step with the number of steps done. It sees what is not private, as does whoever holds
            the losses.

    Raises:
        ConfigError: an argument is out of range, a layer is of another kind, mixes users or changes by a forward pass, or
            losses have another shape.
        NotImplementedError: opacus found a layer, or a weight of two layers, that is called twice.
        ModuleNotFoundError: opacus is missing.
    """
    try:
        import torch
        from opacus.accountants.utils import get_noise_multiplier  # pyright: ignore[reportMissingImports]
        from opacus.grad_sample import (  # pyright: ignore[reportMissingImports]
            GradSampleModuleFastGradientClipping,
        )
        from opacus.optimizers import DPOptimizerFastGradientClipping  # pyright: ignore[reportMissingImports]
        from opacus.utils.fast_gradient_clipping_utils import (  # pyright: ignore[reportMissingImports]
            DPTensorFastGradientClipping,
        )
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{error}; private training needs pip install "opacus>=1.6", in an environment of its own'
        ) from None

    users = require_count("users", users, 1, 2**31 - 1)
    batch = require_count("batch", batch, 1, users)
    steps = require_count("steps", steps, 1, 10**7)
    epsilon = require_number("epsilon", epsilon, 0.01, 100.0)
    delta = require_number("delta", delta, 1e-15, 0.1)
    clip = require_number("clip", clip, 1e-30, 1e30)
    seed = secrets.randbits(63) if seed is None else require_count("seed", seed, 0, 2**63 - 1)
    for name, layer in module.named_modules():
        if any(parameter.requires_grad for parameter in layer.parameters(recurse=False)):
            known = type(layer) in (torch.nn.Embedding, torch.nn.Linear)
            require(
                known, "module", f"must have parameters in Embedding and Linear only, {name or 'itself'!r} has", layer
            )
        if isinstance(layer, torch.nn.Embedding):  # the first writes weights without noise, the second mixes users
            plain = layer.max_norm is None and not layer.scale_grad_by_freq
            require(plain, "module", f"must have no max_norm or scale_grad_by_freq, {name or 'itself'!r} has", layer)
        mixes = hasattr(layer, "running_mean")
        require(not mixes, "module", f"must have no layer that normalises a batch, {name or 'itself'!r} does", layer)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    require(
        {*map(id, trained)} == {*map(id, learning)}, "optimizer", "must have the parameters of the module", optimizer
    )
    devices = {parameter.device.type for parameter in module.parameters()}
    require(devices == {"cpu"}, "module", "must have parameters, on the CPU", devices)
    require(module.training, "module", "must be in training mode", "evaluation mode")

    rate = batch / users
    try:
        with _quiet():
            noise = get_noise_multiplier(
                target_epsilon=epsilon,
                target_delta=delta,
                sample_rate=rate,
                steps=steps,
                accountant="prv",
                epsilon_tolerance=epsilon / 100,
                eps_error=_fineness(epsilon),
            )
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"epsilon: opacus finds no noise for {epsilon:g} in {steps} steps: {error}") from None
    chance = torch.Generator().manual_seed(seed)
    hooked = GradSampleModuleFastGradientClipping(
        module,
        max_grad_norm=clip,  # pyright: ignore[reportArgumentType]  (an int by its default only)
        loss_reduction="mean",
        strict=False,
    )
    private = DPOptimizerFastGradientClipping(
        optimizer,
        noise_multiplier=noise,
        max_grad_norm=clip,
        expected_batch_size=batch,
        generator=chance,
        secure_mode=True,
    )
    try:
        for step in range(steps):
            chosen = torch.nonzero(torch.rand(users, generator=chance, dtype=torch.float64) < rate).flatten()
            if len(chosen):
                loss = losses(hooked, chosen)
                require(loss.shape == chosen.shape, "losses", f"must be of shape ({len(chosen)},)", tuple(loss.shape))
                with _quiet():
                    DPTensorFastGradientClipping(hooked, private, loss, "mean").backward()
            else:
                for parameter in learning:
                    parameter.grad = torch.zeros_like(parameter)
            private.step()
            private.zero_grad()
            if progress is not None:
                progress(step + 1)
    finally:
        hooked.to_standard_module()
    spent = _epsilon([(noise, rate, steps)], delta, _fineness(epsilon))
    return PrivateTraining(spent, delta, noise, clip, rate, steps)


def _epsilon(history: list[tuple[float, float, int]], delta: float, fineness: float | None = None) -> float:
    """Of steps (noise, rate, number), by opacus: an upper bound, above the true one by less than twice the fineness."""
    from opacus.accountants import PRVAccountant, RDPAccountant  # pyright: ignore[reportMissingImports]

    rough, accountant = RDPAccountant(), PRVAccountant()
    rough.history = accountant.history = history
    with _quiet():
        fineness = _fineness(float(rough.get_epsilon(delta))) if fineness is None else fineness
        return float(accountant.get_epsilon(delta, eps_error=fineness))


def _fineness(epsilon: float) -> float:
    """The error of epsilon that the accountant may make (and adds)."""
    return min(max(epsilon, 0.1) / 100, 0.1) if math.isfinite(epsilon) else 0.1


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings of opacus' first, rough bound, of a logarithm of 0 where a step has every user, and of its hooks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Optimal order is the", UserWarning)
        warnings.filterwarnings("ignore", "divide by zero encountered in log", RuntimeWarning)
        warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)
        yield
