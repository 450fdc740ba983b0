"""A ViT encoder (Dosovitskiy et al. 2020, arXiv:2010.11929), with the modules, names and numbers of ViTModel
in transformers, without its pooler; and the projector between it and a language model (LLaVA 1.5,
arXiv:2310.03744).

Images come as patches of bytes, as datasets store them; they become numbers here, since normalised they would
take four times the room. It knows no tokens: where features stand in a sequence is `images`' business.

N images, P patches an image, W bytes a patch, E features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_workloads.contract.architecture import NUM_CHANNELS, Vision


class VisionTransformer(nn.Module):
    def __init__(self, vision: Vision) -> None:
        super().__init__()
        self.embeddings = PatchEmbeddings(vision)
        self.layers = nn.ModuleList(VisionLayer(vision) for _ in range(vision.num_hidden_layers))
        self.layernorm = nn.LayerNorm(vision.hidden_size, eps=vision.layer_norm_eps)

    def forward(self, patches: Tensor) -> Tensor:
        """uint8 [N, P, W] -> [N, P + 1, E]; first comes the token that stands for the whole image."""
        hidden = self.embeddings(patches)
        for layer in self.layers:
            hidden = layer(hidden)
        normed: Tensor = self.layernorm(hidden)
        return normed


class PatchEmbeddings(nn.Module):
    def __init__(self, vision: Vision) -> None:
        super().__init__()
        self.vision = vision
        self.cls_token = nn.Parameter(torch.empty(1, 1, vision.hidden_size))
        self.position_embeddings = nn.Parameter(torch.empty(1, vision.num_patches + 1, vision.hidden_size))
        self.patch_embeddings = nn.ModuleDict(
            {"projection": PatchProjection(NUM_CHANNELS, vision.hidden_size, vision.patch_size)}
        )

    def forward(self, patches: Tensor) -> Tensor:
        """uint8 [N, P, W] -> [N, P + 1, E]"""
        projection = self.patch_embeddings["projection"]
        assert isinstance(projection, PatchProjection)
        embedded = projection(self.normalised(patches, projection.weight.dtype))
        first = self.cls_token.to(embedded.dtype).expand(len(patches), -1, -1)
        return torch.cat([first, embedded], dim=1) + self.position_embeddings

    def normalised(self, patches: Tensor, dtype: torch.dtype) -> Tensor:
        """A patch's numbers lie by channel, then row: as the kernel's."""
        exact = torch.promote_types(dtype, torch.float32)
        mean, std = (
            torch.tensor(of_channels, dtype=exact, device=patches.device).repeat_interleave(
                self.vision.patch_size**2
            )
            for of_channels in (self.vision.image_mean, self.vision.image_std)
        )
        return ((patches.to(exact) / 255 - mean) / std).to(dtype)


class PatchProjection(nn.Conv2d):
    """A convolution by its weights, whose steps are as long as its kernel: a product with patches."""

    def forward(self, patches: Tensor) -> Tensor:
        """[N, P, W] -> [N, P, E]"""
        return F.linear(patches, self.weight.flatten(1), self.bias)


class VisionLayer(nn.Module):
    """Norm before attention and before the network; every patch sees every other."""

    def __init__(self, vision: Vision) -> None:
        super().__init__()
        self.attention = VisionAttention(vision)
        self.layernorm_before = nn.LayerNorm(vision.hidden_size, eps=vision.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(vision.hidden_size, eps=vision.layer_norm_eps)
        self.mlp = VisionNetwork(vision)

    def forward(self, hidden: Tensor) -> Tensor:
        """[N, P + 1, E] -> the same shape."""
        hidden = hidden + self.attention(self.layernorm_before(hidden))
        added: Tensor = self.mlp(self.layernorm_after(hidden))
        return hidden + added


class VisionAttention(nn.Module):
    def __init__(self, vision: Vision) -> None:
        super().__init__()
        self.heads, width = vision.num_attention_heads, vision.hidden_size
        self.q_proj = nn.Linear(width, width, bias=vision.qkv_bias)
        self.k_proj = nn.Linear(width, width, bias=vision.qkv_bias)
        self.v_proj = nn.Linear(width, width, bias=vision.qkv_bias)
        self.o_proj = nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """[N, P + 1, E] -> the same shape."""
        query, key, value = (
            projection(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.o_proj(attended.transpose(1, 2).flatten(2))
        return projected


class VisionNetwork(nn.Module):
    def __init__(self, vision: Vision) -> None:
        super().__init__()
        self.fc1 = nn.Linear(vision.hidden_size, vision.intermediate_size)
        self.fc2 = nn.Linear(vision.intermediate_size, vision.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., E] -> the same shape."""
        projected: Tensor = self.fc2(F.gelu(self.fc1(hidden)))
        return projected


class MultiModalProjector(nn.Module):
    """Image features as wide as a language model's hidden states, H."""

    def __init__(self, vision: Vision, *, hidden: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(vision.hidden_size, hidden)
        self.linear_2 = nn.Linear(hidden, hidden)

    def forward(self, features: Tensor) -> Tensor:
        """[..., E] -> [..., H]"""
        projected: Tensor = self.linear_2(F.gelu(self.linear_1(features)))
        return projected


def to_patches(pixels: Tensor, *, patch_size: int) -> Tensor:
    """[N, C, height, width] -> [N, P, W], patches by row, the numbers of each by channel, then row."""
    channels = pixels.shape[1]
    tiles = pixels.unfold(2, patch_size, patch_size).unfold(3, patch_size, patch_size)  # [N, C, h, w, p, p]
    return tiles.permute(0, 2, 3, 1, 4, 5).reshape(len(pixels), -1, channels * patch_size**2)
