"""The Inception v3 that FID is defined with: torchvision's, pooling as the TensorFlow graph of 2015 does."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, max_pool2d
from torch.nn.utils import fuse_conv_bn_eval
from torchvision.models import inception_v3
from torchvision.models.inception import BasicConv2d, InceptionA, InceptionC, InceptionE

if TYPE_CHECKING:
    from torch import Tensor

# What torchvision averages over in a block's pooling branch counts the padding's zeros; here it does not.
_average = partial(avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
_maximum = partial(max_pool2d, kernel_size=3, stride=1, padding=1)


class _A(InceptionA):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        wide = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), wide, double, self.branch_pool(_average(x))], 1)


class _C(InceptionC):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), single, double, self.branch_pool(_average(x))], 1)


class _E(InceptionE):  # type: ignore[misc]
    def __init__(self, in_channels: int, pool: Any) -> None:
        super().__init__(in_channels)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        single, double = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        halves = [
            self.branch3x3_2a(single),
            self.branch3x3_2b(single),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
        ]
        return torch.cat([self.branch1x1(x), *halves, self.branch_pool(self.pool(x))], 1)


def inception_2015() -> nn.Module:
    """The network, its tensors under the names of ``pt_inception-2015-12-05``; their values do not matter.

    Three things are not torchvision's: 1008 classes, pooling branches that leave the padding out of their means, and the maximum
    in place of the mean in the last block.
    """
    network: Any = inception_v3(num_classes=1008, aux_logits=False, init_weights=False)
    network.Mixed_5b, network.Mixed_5c, network.Mixed_5d = _A(192, 32), _A(256, 64), _A(288, 64)
    network.Mixed_6b, network.Mixed_6c = _C(768, 128), _C(768, 160)
    network.Mixed_6d, network.Mixed_6e = _C(768, 160), _C(768, 192)
    network.Mixed_7b, network.Mixed_7c = _E(1280, _average), _E(2048, _maximum)
    return network  # type: ignore[no-any-return]


def fused(network: nn.Module) -> nn.Module:
    """The same function with each normalisation folded into the convolution before it, in the memory format that is fastest."""
    for block in network.modules():
        if isinstance(block, BasicConv2d):
            block.conv, block.bn = fuse_conv_bn_eval(block.conv, block.bn), nn.Identity()
    return network.to(memory_format=torch.channels_last)


def pooled(network: Any, x: Tensor) -> Tensor:
    """Features ``(B, 2048)`` of images ``(B, 3, 299, 299)`` in -1..1: the last pooling layer's."""
    x = network.maxpool1(network.Conv2d_2b_3x3(network.Conv2d_2a_3x3(network.Conv2d_1a_3x3(x))))
    x = network.maxpool2(network.Conv2d_4a_3x3(network.Conv2d_3b_1x1(x)))
    for name, block in network.named_children():
        if name.startswith("Mixed_"):
            x = block(x)
    return x.mean((2, 3))
