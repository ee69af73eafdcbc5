"""Training with differential privacy of users: against gradients made one user at a time, and another accountant."""

from __future__ import annotations

from typing import Any

import pytest

from recgym.errors import ConfigError

torch = pytest.importorskip("torch")
pytest.importorskip("opacus")

from recgym.logs.privacy import epsilon_of  # noqa: E402
from recgym.logs.private_training import PrivateTraining, _epsilon, private_training  # noqa: E402

U, N, R, D = 40, 12, 6, 3


class Clicks(torch.nn.Module):
    """Logits of rows (B, R) from vectors of users that are not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.item = torch.nn.Embedding(N, D)
        self.bias = torch.nn.Embedding(N, 1)
        self.price = torch.nn.Linear(2, 1)

    def forward(self, user: Any, item: Any, x: Any) -> Any:
        return (self.item(item) * user[:, None]).sum(-1) + self.bias(item)[..., 0] + self.price(x)[..., 0]


class Rows:
    """Rows of all users, and the losses of some; user 0 has the same item in each row."""

    def __init__(self) -> None:
        chance = torch.Generator().manual_seed(1)
        self.user = torch.randn(U, D, generator=chance)
        self.item = torch.randint(N, (U, R), generator=chance)
        self.item[0] = 5
        self.x = torch.randn(U, R, 2, generator=chance)
        self.click = (self.item % 3 == 0).float()
        self.weight = (torch.rand(U, R, generator=chance) < 0.8).float()

    def __call__(self, module: Any, chosen: Any) -> Any:
        logits = module(self.user[chosen], self.item[chosen], self.x[chosen])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, self.click[chosen], reduction="none")
        return (loss * self.weight[chosen]).sum(1)


def made() -> Any:
    torch.manual_seed(0)
    return Clicks()


def train(module: Any, losses: Any, **options: Any) -> PrivateTraining:
    options = {"users": U, "batch": U, "steps": 1, "epsilon": 2.0, "delta": 1e-3, "seed": 0, **options}
    return private_training(module, torch.optim.SGD(module.parameters(), 1.0), losses, **options)


@pytest.mark.parametrize("clip", [0.3, 2.0, 1e6])
def test_a_step_is_the_mean_of_clipped_gradients_of_users(clip: float, monkeypatch: pytest.MonkeyPatch) -> None:
    import opacus.optimizers.optimizer_fast_gradient_clipping as module_of_noise

    monkeypatch.setattr(module_of_noise, "_generate_noise", lambda **given: torch.zeros_like(given["reference"]))
    rows, module, by_hand = Rows(), made(), made()
    before = [parameter.detach().clone() for parameter in module.parameters()]
    train(module, rows, clip=clip)
    total = [torch.zeros_like(parameter) for parameter in before]
    norms = []
    for user in range(U):
        gradients = torch.autograd.grad(rows(by_hand, torch.tensor([user])).sum(), list(by_hand.parameters()))
        norms.append(float(torch.cat([gradient.flatten() for gradient in gradients]).norm()))
        total = [old + new * min(1.0, clip / (norms[-1] + 1e-6)) for old, new in zip(total, gradients)]
    assert (max(norms) > clip) == (clip < 10)
    for old, new, change in zip(before, module.parameters(), total):
        torch.testing.assert_close(new.detach(), old - change / U, rtol=1e-4, atol=1e-6)


def test_the_noise_is_what_the_record_says() -> None:
    wide = torch.nn.Embedding(20_000, 2)
    before = wide.weight.detach().clone()
    done = train(wide, lambda module, chosen: 0.0 * module(chosen).sum(1), clip=3.0, batch=20)
    noise = (wide.weight.detach() - before) * 20 / (done.noise * 3.0)
    assert float(noise.std()) == pytest.approx(1.0, abs=4 / (2 * noise.numel()) ** 0.5)
    assert abs(float(noise.mean())) < 4 / noise.numel() ** 0.5


def test_noise_is_there_in_steps_without_users_and_secret_without_a_seed() -> None:
    def losses(module: Any, chosen: Any) -> Any:
        seen.append(len(chosen))
        return module(torch.ones(len(chosen), 2))[:, 0]

    seen: list[int] = []
    one, two = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    two.load_state_dict(one.state_dict())
    options: dict[str, Any] = {"users": 10**6, "batch": 1, "delta": 1e-7}
    train(one, losses, steps=8, seed=0, **options)
    assert 0 < len(seen) < 8  # a step has nobody with probability 1 / e
    assert 0 not in seen
    start = two.weight.detach().clone()
    train(two, losses, seed=None, **options)
    assert (two.weight != start).all()
    assert not torch.equal(trained_from(losses, start, options), two.weight.detach())


def trained_from(losses: Any, start: Any, options: dict[str, Any]) -> Any:
    """The weights of another training from the same start, without a seed."""
    module = torch.nn.Linear(2, 1)
    module.weight.data.copy_(start)
    train(module, losses, seed=None, **options)
    return module.weight.detach()


# Google's dp-accounting 0.6.0, at delta 1e-6; opacus' is an upper bound that is 1 % above at most:
#   from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
#   a = dp_accounting.pld.PLDAccountant()
#   a.compose(SelfComposedDpEvent(PoissonSampledDpEvent(rate, GaussianDpEvent(noise)), steps))  # each (noise, rate, steps)
#   a.get_epsilon(1e-6)
@pytest.mark.parametrize(
    ("history", "epsilon"),
    [
        ([(1.1, 0.01, 1000)], 1.7529853768394315),
        ([(0.8, 0.05, 200)], 8.865663709462277),
        ([(10.0, 0.1, 100)], 0.4053297305071799),
        ([(1.1, 0.01, 1000), (4.0, 1.0, 1)], 2.0746478300031566),
    ],
)
def test_the_accountant_agrees_with_another(history: list[tuple[float, float, int]], epsilon: float) -> None:
    assert epsilon <= _epsilon(history, 1e-6) <= epsilon * 1.015


@pytest.mark.parametrize("delta", [1e-3, 1e-6])
@pytest.mark.parametrize("sigmas", [[0.9], [3.0], [1.3] * 4, [4.0, 9.0, 2.0]])
def test_steps_with_all_users_are_the_releases_that_epsilon_of_adds_up(sigmas: list[float], delta: float) -> None:
    from opacus.accountants import RDPAccountant

    exact = epsilon_of(sigmas, 1.0, delta)
    history = [(sigma, 1.0, 1) for sigma in sigmas]
    assert exact <= _epsilon(history, delta) <= exact * 1.015 + 0.002
    bound = RDPAccountant()
    bound.history = history
    assert exact < bound.get_epsilon(delta) < 2 * exact + 0.2


def test_the_budget_is_spent_and_not_exceeded() -> None:
    done = train(made(), Rows(), batch=8, steps=20, epsilon=1.5)
    assert 1.5 * 0.98 <= done.epsilon <= 1.5
    assert done.delta == 1e-3
    assert (done.rate, done.steps) == (0.2, 20)
    assert done.statement["epsilon"] == done.epsilon
    assert done.epsilon_with([5.0]) > 1.02 * done.epsilon
    assert done.epsilon_with([]) == pytest.approx(done.epsilon, rel=0.02)


def test_it_learns_where_there_are_many_users() -> None:
    users = 3000
    chance = torch.Generator().manual_seed(2)
    item = torch.randint(N, (users, 10), generator=chance)
    truth = torch.linspace(-2, 2, N)
    click = (torch.rand(users, 10, generator=chance) < torch.sigmoid(truth)[item]).float()
    bias = torch.nn.Embedding(N, 1)
    torch.nn.init.zeros_(bias.weight)

    def losses(module: Any, chosen: Any) -> Any:
        logits = module(item[chosen])[..., 0]
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, click[chosen], reduction="none").sum(1)

    seen: list[int] = []
    adam = torch.optim.Adam(bias.parameters(), 0.2)
    options: dict[str, Any] = dict(users=users, batch=300, steps=60, epsilon=2.0, delta=1e-5, clip=2.0, seed=0)
    done = private_training(bias, adam, losses, progress=seen.append, **options)
    assert seen == list(range(1, 61))
    assert done.epsilon <= 2.0
    error = bias.weight.detach()[:, 0] - truth
    assert float((error - error.mean()).abs().mean()) < 0.4  # the truth's own spread is 1.1


def test_wrong_arguments_say_so() -> None:
    class Bare(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.effect = torch.nn.Parameter(torch.zeros(3))

    with pytest.raises(ConfigError, match="Embedding and Linear only, 'itself' has"):
        train(Bare(), Rows())
    for layer in (torch.nn.Embedding(N, 1, max_norm=1.0), torch.nn.Embedding(N, 1, scale_grad_by_freq=True)):
        with pytest.raises(ConfigError, match="no max_norm or scale_grad_by_freq, 'itself' has"):
            train(layer, Rows())
    with pytest.raises(ConfigError, match="normalises a batch, '1' does"):
        train(torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.BatchNorm1d(1, affine=False)), Rows())
    with pytest.raises(ConfigError, match="on the CPU"):
        train(made().to("meta"), Rows())
    with pytest.raises(ConfigError, match="seed: must be an integer"):
        train(made(), Rows(), seed=-1)
    with pytest.raises(NotImplementedError, match="tying"):
        train(torch.nn.Linear(2, 2), lambda module, chosen: module(module(torch.ones(len(chosen), 2))).sum(1))
    with pytest.raises(ConfigError, match="losses: must be of shape"):
        train(made(), lambda module, chosen: Rows()(module, chosen).sum())
    with pytest.raises(ConfigError, match="batch: must be an integer"):
        train(made(), Rows(), batch=U + 1)
    with pytest.raises(ConfigError, match="optimizer: must have the parameters"):
        private_training(
            made(),
            torch.optim.SGD(made().parameters(), 1.0),
            Rows(),
            users=U,
            batch=4,
            steps=1,
            epsilon=1.0,
            delta=1e-3,
        )
    with pytest.raises(ConfigError, match="training mode"):
        train(made().eval(), Rows())
