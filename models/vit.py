"""Vision Transformer: cut the image into patches and treat them as words.

Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
arXiv:2010.11929: section 3.1, equations 1 to 4, and Table 1. Sizes Ti and S are from
Touvron et al. 2020 (DeiT), arXiv:2012.12877, Table 1.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .spec import Paper


class SelfAttention(nn.Module):
    """softmax(q k^T / sqrt(head width)) v, for each head (appendix A); (B, N, D) to the same, D = hidden_dim.

    Training and evaluation take the same path, so that counters see the same products in both.
    """

    def __init__(self, hidden_dim: int, num_heads: int) -> None:
        super().__init__()
        if hidden_dim % num_heads != 0:
            raise ValueError(f"hidden_dim {hidden_dim} is not divisible by num_heads {num_heads}")
        self.num_heads = num_heads
        self.in_proj = nn.Linear(hidden_dim, 3 * hidden_dim)  # q, k, v in this order
        self.out_proj = nn.Linear(hidden_dim, hidden_dim)

    def forward(self, x: Tensor) -> Tensor:
        # (B, N, 3 * hidden_dim) -> (3, B, num_heads, N, head width)
        q, k, v = self.in_proj(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        heads = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(heads.transpose(1, 2).flatten(2))


class EncoderBlock(nn.Module):
    """LN, self-attention, + x, LN, linear, GELU, linear, + x (equations 2 and 3)."""

    def __init__(self, hidden_dim: int, num_heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(hidden_dim, eps=1e-6)
        self.self_attention = SelfAttention(hidden_dim, num_heads)
        self.ln_2 = nn.LayerNorm(hidden_dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(hidden_dim, mlp_dim), nn.GELU(), nn.Linear(mlp_dim, hidden_dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attention(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """+ position embedding, `num_layers` blocks, LN: (B, N, D) -> (B, N, D), D = hidden_dim."""

    def __init__(self, num_tokens: int, num_layers: int, hidden_dim: int, num_heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, num_tokens, hidden_dim))
        self.layers = nn.Sequential(*(EncoderBlock(hidden_dim, num_heads, mlp_dim) for _ in range(num_layers)))
        self.ln = nn.LayerNorm(hidden_dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.ln(self.layers(x + self.pos_embedding))


class VisionTransformer(nn.Module):
    """Patches, linear embedding, class token, encoder, linear on the class token (Figure 1).

    (B, 3, image_size, image_size) -> (B, num_classes). Parameters come in torchvision's order.

    Differs from the paper: no dropout; torchvision trains without it too.

    Differs from the paper: `vit_ti_16` and `vit_s_16` are sizes of DeiT (arXiv:2012.12877) without its distillation
    token, and the `_cifar` variants are those sizes with 4x4 patches on 32x32 images, trained from scratch; the paper
    fine-tunes on CIFAR-10 at higher resolution after large-scale pre-training.

    Raises:
        ValueError: the image is not a whole number of patches wide, or the width not a whole number per
        head.
    """

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        num_layers: int,
        hidden_dim: int,
        num_heads: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        if image_size % patch_size != 0:
            raise ValueError(f"image_size {image_size} is not divisible by patch_size {patch_size}")
        self.class_token = nn.Parameter(torch.zeros(1, 1, hidden_dim))
        self.conv_proj = nn.Conv2d(3, hidden_dim, kernel_size=patch_size, stride=patch_size)
        num_tokens = (image_size // patch_size) ** 2 + 1
        self.encoder = Encoder(num_tokens, num_layers, hidden_dim, num_heads, mlp_dim=4 * hidden_dim)
        self.head = nn.Linear(hidden_dim, num_classes)
        self._init()

    def _init(self) -> None:
        """torchvision's: Xavier for attention and MLP, truncated normal for patches, zero for the head."""
        fan_in = self.conv_proj.weight[0].numel()
        nn.init.trunc_normal_(self.conv_proj.weight, std=math.sqrt(1 / fan_in))
        nn.init.zeros_(self.conv_proj.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.encoder.pos_embedding, std=0.02)
        for module in self.encoder.modules():
            if isinstance(module, SelfAttention):
                nn.init.xavier_uniform_(module.in_proj.weight)
                nn.init.zeros_(module.in_proj.bias)
                nn.init.zeros_(module.out_proj.bias)
            elif isinstance(module, EncoderBlock):
                for layer in module.mlp:
                    if isinstance(layer, nn.Linear):
                        nn.init.xavier_uniform_(layer.weight)
                        nn.init.normal_(layer.bias, std=1e-6)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)  # (B, patches, hidden_dim)
        class_token = self.class_token.expand(patches.shape[0], -1, -1)
        tokens = self.encoder(torch.cat((class_token, patches), dim=1))
        return self.head(tokens[:, 0])


PAPER = Paper("ViT", 2020, "Dosovitskiy et al. 2020, arXiv:2010.11929")

_DEIT = "; size of Touvron et al. 2020, arXiv:2012.12877, Table 1"
_TINY = partial(VisionTransformer, num_layers=12, hidden_dim=192, num_heads=3)
_SMALL = partial(VisionTransformer, num_layers=12, hidden_dim=384, num_heads=6)
_BASE = partial(VisionTransformer, num_layers=12, hidden_dim=768, num_heads=12)
_LARGE = partial(VisionTransformer, num_layers=24, hidden_dim=1024, num_heads=16)
_ON_32 = f"{_DEIT}, with 4x4 patches"
_TINY_BY_LAYER = "derived: 12 * 444,864 + 9,408 + 192 + 12,480 + 384 + 1,930"
_SMALL_BY_LAYER = "derived: 12 * 1,774,464 + 18,816 + 384 + 24,960 + 768 + 3,850"

SPECS = (
    PAPER.imagenet(
        "vit_ti_16", _DEIT, partial(_TINY, image_size=224, patch_size=16), 5_717_416, "derived; DeiT Table 1: 5M"
    ),
    PAPER.imagenet(
        "vit_s_16", _DEIT, partial(_SMALL, image_size=224, patch_size=16), 22_050_664, "derived; DeiT Table 1: 22M"
    ),
    PAPER.imagenet("vit_b_16", "Table 1", partial(_BASE, image_size=224, patch_size=16), 86_567_656),
    PAPER.imagenet("vit_b_32", "Table 1", partial(_BASE, image_size=224, patch_size=32), 88_224_232),
    PAPER.imagenet("vit_l_16", "Table 1", partial(_LARGE, image_size=224, patch_size=16), 304_326_632),
    PAPER.cifar("vit_tiny_cifar", _ON_32, partial(_TINY, image_size=32, patch_size=4), 5_362_762, _TINY_BY_LAYER),
    PAPER.cifar("vit_small_cifar", _ON_32, partial(_SMALL, image_size=32, patch_size=4), 21_342_346, _SMALL_BY_LAYER),
)
