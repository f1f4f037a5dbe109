"""The loss balancer: each loss gets the share of the gradient that its weight says (EnCodec, Defossez et al. 2022).

The encodec package has one (eq. 5 of the paper); its averages live in a closure and cannot be saved, so that training
could not go on after an interruption as if nothing had happened.
"""

import torch
from torch import Tensor


class Balancer:
    """Combines gradients of several losses with respect to the decoder's output.

    Each is divided by a moving average of its norm and multiplied by its weight. We deviate from EnCodec in the total
    norm: not 1, but that of the `reference` loss, so that the weight of the commitment loss, which does not pass
    through the output, keeps its meaning when other losses join.
    """

    def __init__(self, weights: dict[str, float], reference: str, decay: float = 0.99):
        self.weights, self.reference, self.decay = weights, reference, decay
        self.norms: dict[str, list[float]] = {}  # loss -> [decayed sum, decayed count]

    def combine(self, gradients: dict[str, Tensor]) -> Tensor:
        """Return the combined gradient: gradients of one shape [batch, n_samples], one for each loss in play."""
        for name, gradient in gradients.items():
            total, count = self.norms.get(name, [0.0, 0.0])
            norm = float(gradient.flatten(1).norm(dim=1).mean())
            self.norms[name] = [total * self.decay + norm, count * self.decay + 1.0]
        scale = self.norm(self.reference) / self.weights[self.reference]
        return torch.stack(
            [g * (self.weights[n] * scale / max(self.norm(n), 1e-12)) for n, g in gradients.items()]
        ).sum(0)

    def norm(self, name: str) -> float:
        """Return the moving average of the norm of a loss's gradient."""
        total, count = self.norms[name]
        return total / count
