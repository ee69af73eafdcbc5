"""An agent of one's own: SlateQ that takes the lower of two values of what follows (Fujimoto et al., ICML 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from baselines.slateq import SlateQ


@dataclass
class CautiousSlateQ(SlateQ):
    """The online network chooses the next slate, and the lower of its own value and the target network's counts."""

    n_steps: int = 3

    def next_value(self, after: Any) -> torch.Tensor:
        weights = self.next_weights(after)
        online = self.item_values(self.nets["value"], after["observation"])
        target = self.item_values(self.target_net, after["observation"])
        slate, shows = self.best_slate(self.target_optimiser, weights, online)
        values = [self.slate_value(weights, values, slate, shows) for values in (online, target)]
        return torch.minimum(*values)
