"""AMF: AdamW's step, sent through a heavy-ball buffer.

    m = beta1*m + (1-beta1)*g        v = beta2*v + (1-beta2)*g^2
    b = mu*b + lr * m_hat / (sqrt(v_hat) + eps)
    p = p - lr*decay*p - b

m_hat and v_hat are corrected for their start at zero (m / (1-beta1^t), v / (1-beta2^t)); b is not, as it is
meant to build up. A steady gradient ends in steps 1/(1-mu) times AdamW's, so AMF wants a learning rate that
much lower; with mu = 0 it is AdamW. What is in b keeps the learning rate it came with: a schedule acts on
what is added.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class AMF(torch.optim.Optimizer):
    """Three moments a parameter, in its dtype. Works on plain tensors and DTensors alike."""

    MOMENTUM = 0.9

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        momentum: float,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "momentum": momentum, "weight_decay": 0.0}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise ValueError("AMF takes no closure: call backward before step")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            for name in ("exp_avg", "exp_avg_sq", "momentum_buffer"):
                state[name] = torch.zeros_like(parameter)
        state["step"] += 1
        taken, (beta1, beta2), rate = state["step"].item(), group["betas"], group["lr"]
        first, second, buffer = state["exp_avg"], state["exp_avg_sq"], state["momentum_buffer"]
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        denominator = (second / (1 - beta2**taken)).sqrt_().add_(group["eps"])
        buffer.mul_(group["momentum"]).addcdiv_(first, denominator, value=rate / (1 - beta1**taken))
        parameter.mul_(1 - rate * group["weight_decay"]).sub_(buffer)
