"""Root-mean-square norm that is computed in float32 under autocast too."""

import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    """`weight` [features]. Autocast hands over bfloat16 beside float32 weights, for which there is no fused
    norm: the input goes up rather than the weights down."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.to(self.weight.dtype), self.normalized_shape, self.weight, self.eps)
