"""Muon: momentum whose update of every weight matrix is orthogonalised (Jordan et al., 2024), for small models on few samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

_A, _B, _C = 3.4445, -4.7750, 2.0315  # the quintic of the published Newton-Schulz iteration


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices of (N, rows, columns), roughly: their singular values end between 0.7 and 1.2."""
    flipped = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if flipped else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x.mT if flipped else x


class Muon(Optimizer):
    """Muon for the weight matrices (convolutions flattened to two dimensions), AdamW for all else.

    Args:
        modules: the models to train.
        lr: learning rate of the matrices (their update has unit singular values, times ``sqrt(max(1, rows / columns))``).
        adam_lr: learning rate of vectors, embeddings, and of each model's first and last layer (named in ``plain``).
        plain: substrings of parameter names which AdamW trains although they are matrices.
    """

    def __init__(
        self, modules: Iterable[nn.Module], lr: float, adam_lr: float, plain: tuple[str, ...] = (), momentum: float = 0.95
    ) -> None:
        named = [item for module in modules for item in module.named_parameters() if item[1].requires_grad]
        matrix = [
            p for name, p in named if p.ndim >= 2 and min(p.shape[0], p[0].numel()) > 1 and not any(s in name for s in plain)
        ]
        chosen = set(map(id, matrix))
        rest = [p for _, p in named if id(p) not in chosen]
        groups: list[dict[str, Any]] = [
            {"params": matrix, "lr": lr, "muon": True},
            {"params": rest, "lr": adam_lr, "muon": False},
        ]
        super().__init__([group for group in groups if group["params"]], {"momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update."""
        for group in self.param_groups:
            present = [p for p in group["params"] if p.grad is not None]
            if group["muon"]:
                self._muon(present, group["lr"], group["momentum"])
            else:
                for p in present:
                    self._adam(p, group["lr"])

    def _muon(self, parameters: list[Tensor], lr: float, momentum: float) -> None:
        alike: dict[torch.Size, list[Tensor]] = {}
        for p in parameters:
            alike.setdefault(p.flatten(1).shape, []).append(p)
        for shape, group in alike.items():
            updates = torch.stack([self._momentum(p, momentum).view(shape) for p in group])
            scale = max(1.0, shape[0] / shape[1]) ** 0.5
            for p, update in zip(group, orthogonalise(updates), strict=True):
                p.add_(update.view_as(p), alpha=-lr * scale)

    def _momentum(self, p: Tensor, momentum: float) -> Tensor:
        """The Nesterov momentum of the parameter's gradient."""
        assert p.grad is not None
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        average: Tensor = state["momentum"].lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(average, momentum)

    def _adam(self, p: Tensor, lr: float) -> None:
        assert p.grad is not None
        state = self.state[p]
        if not state:
            state.update(mean=torch.zeros_like(p), square=torch.zeros_like(p), step=0)
        state["step"] += 1
        state["mean"].lerp_(p.grad, 0.1)
        state["square"].mul_(0.99).addcmul_(p.grad, p.grad, value=0.01)
        mean = state["mean"] / (1 - 0.9 ** state["step"])
        square = state["square"] / (1 - 0.99 ** state["step"])
        p.addcdiv_(mean, square.sqrt().add_(1e-8), value=-lr)
