"""The whole weights of a model that ranks hold in shards."""

from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """A collective: every rank calls it. Rank 0 gets every tensor whole on the CPU, under the names of the
    plain module whatever wraps it; the other ranks get nothing."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(model, options=options)
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}
