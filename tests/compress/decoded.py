"""Small layers and a network of decoded weights, and a few steps of training, for the tests of ``compress.reparam``."""

import torch
from torch import nn

from compress.reparam import AffineDecoder, ConvDecoder, EntropyConv2d, EntropyLinear, entropy_bits, latents


def small_linear(ema_decay=0.0, seed=0, steps=1):
    torch.manual_seed(seed)
    return EntropyLinear(7, 5, AffineDecoder(steps), AffineDecoder(), ema_decay=ema_decay)


def small_network(ema_decay=0.0, transform="dct", seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        EntropyConv2d(3, 1, 4, ConvDecoder(3, transform), padding=1, ema_decay=ema_decay),
        nn.ReLU(),
        nn.Flatten(),
        EntropyLinear(64, 3, AffineDecoder(3), AffineDecoder(), ema_decay=ema_decay),
    )


def unit_of(layer, tensor="weight"):
    return {name: (unit, latent) for name, unit, latent in latents(layer)}[tensor]


def pictures(seed=0, count=30):
    """Three kinds of picture, and noise."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    pictures = 0.3 * torch.randn(count, 1, 4, 4, generator=random)
    pictures[torch.arange(count), 0, labels] += 1
    return pictures, labels


def train(network, strength, steps=60):
    images, labels = pictures()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    torch.manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(images), labels) + strength * entropy_bits(network)
        loss.backward()
        optimizer.step()
