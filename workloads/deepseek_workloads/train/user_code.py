"""Functions of a user's image, by `module:function`: a whole loop, or the model, the loss or the
optimizer of ours."""

import importlib
import re
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from deepseek_workloads.contract import optimization
from deepseek_workloads.model.head import cross_entropy
from deepseek_workloads.train.refused import SettingRefused
from deepseek_workloads.train.registered import MODEL_FIELD, ModelConfig

ENTRYPOINT: Final = re.compile(r"^(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)$")
LOSS_FIELD: Final = "spec.training.lossFunction"
OPTIMIZER_FIELD: Final = "spec.training.optimizer.function"


class EntrypointInvalid(SettingRefused):
    """What `module:function` names is not there, or cannot be called."""


def load_entrypoint(entrypoint: str, *, field: str) -> Callable[..., Any]:
    """Imports the module. Raises EntrypointInvalid, which names `field`."""
    match = ENTRYPOINT.match(entrypoint)
    if match is None:
        raise EntrypointInvalid(f"{field}: {entrypoint!r}: must be module:function, such as my.code:train")
    try:
        module = importlib.import_module(match["module"])
    except Exception as error:  # whatever it runs into would be there at the next start, too
        raise EntrypointInvalid(
            f"{field}: {entrypoint!r}: its module cannot be imported: {type(error).__name__}: {error}: "
            "put it, in order, on the PYTHONPATH of spec.image"
        ) from error
    function = getattr(module, match["name"], None)
    if not callable(function):
        raise EntrypointInvalid(f"{field}: {entrypoint!r}: the module has no function {match['name']!r}")
    return function  # type: ignore[no-any-return]


def load_loss(entrypoint: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Of hidden states [N, H], the head's weight [V, H] and labels int64 [N], -100 where none counts: a
    scalar, the mean over those that count. Evaluation stays in nats. Raises EntrypointInvalid."""
    function = load_entrypoint(entrypoint, field=LOSS_FIELD)

    def loss(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return cross_entropy(hidden, weight, labels)
        value = function(hidden, weight, labels)
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            raise EntrypointInvalid(
                f"{LOSS_FIELD}: {entrypoint!r}: returned {_shown(value)}: must be one number with a "
                "gradient: return the mean over the labels that are not -100"
            )
        return value.reshape(())

    return loss


def load_model(entrypoint: str, config: ModelConfig) -> nn.Module:
    """Of what spec.model.function names, called with `config`. Raises EntrypointInvalid."""
    model = load_entrypoint(entrypoint, field=MODEL_FIELD)(config)
    if not isinstance(model, nn.Module) or not any(p.requires_grad for p in model.parameters()):
        raise EntrypointInvalid(
            f"{MODEL_FIELD}: {entrypoint!r}: returned {_shown(model)}: must be a torch.nn.Module with "
            "parameters that are trained"
        )
    return model


def load_optimizer(
    entrypoint: str, groups: list[dict[str, Any]], config: optimization.Optimizer
) -> Optimizer:
    """From parameter groups, which have `params` and `weight_decay`, and the settings of the run config. Its
    state must be tensors by parameter, as a checkpoint keeps them. Raises EntrypointInvalid."""
    optimizer = load_entrypoint(entrypoint, field=OPTIMIZER_FIELD)(groups, config)
    if not isinstance(optimizer, Optimizer):
        raise EntrypointInvalid(
            f"{OPTIMIZER_FIELD}: {entrypoint!r}: returned {_shown(optimizer)}: must be a "
            "torch.optim.Optimizer over the groups that it was given"
        )
    wanted = {id(parameter) for group in groups for parameter in group["params"]}
    found = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if found != wanted:
        raise EntrypointInvalid(
            f"{OPTIMIZER_FIELD}: {entrypoint!r}: its optimizer has {len(found & wanted)} of the "
            f"{len(wanted)} parameters that are trained: give it every group"
        )
    return optimizer


def _shown(value: object) -> str:
    kind = f"{type(value).__name__}"
    return f"{kind} of shape {list(value.shape)}" if isinstance(value, Tensor) else kind
