"""The spatial-aware visual sampler: the features of a region from 512 places inside it.

Section 3.2 of the paper and `GeoRegionSampler` of the authors' ferret_arch.py, whose parameter names are kept. Which places
and where farthest-point sampling begins is drawn by the processor: nothing here is random.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its usual name)

POINTS = 512
STAGES = (128, 32)
"""How many points each stage keeps."""
NEIGHBOURS = 24


class RegionSampler(nn.Module):
    """Feature maps of `channels` and places on them -> one vector of `width` a region."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.diff_projector_list = nn.ModuleList(nn.Linear(channels + 2, channels + 2) for _ in STAGES)
        self.agg_projector_list = nn.ModuleList(_Aggregation(2 * (channels + 2), channels) for _ in STAGES)
        self.flatten_projector = nn.Linear(STAGES[-1] * channels, channels)
        self.dim_projector = nn.Linear(channels, width)

    def forward(self, maps: Tensor, places: Tensor, starts: Tensor) -> Tensor:
        """Maps (regions, channels, height, width), places (regions, POINTS, 2) as x and y in 0..1, and at which point each
        stage begins (regions, len(STAGES)) -> (regions, width) in the weights' dtype.

        Places stay in float32: half precision knows 256 of them along a side.
        """
        # A norm's: what quantizes weights takes those of linear layers, and theirs are bytes then.
        maps = maps.to(self.agg_projector_list[0].get_parameter("norm.weight").dtype)
        with torch.autocast(maps.device.type, enabled=False):  # training's would round places, and other neighbours be near
            features = read(maps, places)
            for stage, count in enumerate(STAGES):
                features, places = self._gathered(stage, features, places, farthest(places, starts[:, stage], count))
            vectors: Tensor = self.dim_projector(self.flatten_projector(features.flatten(1)))
        return vectors

    def _gathered(self, stage: int, features: Tensor, places: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """One stage: what is near each anchor (regions, anchors) is gathered in it; its features and places."""
        kept = _pick(places, anchors)
        near = nearest(places, kept)
        known = torch.cat([features, places.to(features.dtype)], dim=-1)
        anchor = _pick(known, anchors)[:, :, None]
        moved = self.diff_projector_list[stage](_pick(known, near) - anchor)
        joined = torch.cat([moved, anchor.expand_as(moved)], dim=-1)
        return self.agg_projector_list[stage](joined).amax(dim=2), kept


class _Aggregation(nn.Module):
    """A convolution of width 1 over points, which is a linear layer, then ReLU and LayerNorm."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(channels, out, kernel_size=1))  # the names and shapes of the published weights
        self.norm = nn.LayerNorm(out)

    def forward(self, points: Tensor) -> Tensor:
        """(..., channels) -> (..., out)."""
        weight, bias = self.net.get_parameter("0.weight"), self.net.get_parameter("0.bias")
        normed: Tensor = self.norm(F.linear(points, weight[:, :, 0], bias).relu())
        return normed


def read(maps: Tensor, places: Tensor) -> Tensor:
    """The features of maps (regions, channels, height, width) at places (regions, points, 2) -> (regions, points, channels).

    The authors' code swaps x and y before `grid_sample`, which expects x first: features are read at the place mirrored at
    the diagonal. The published weights have learned from what is read there, so it is done here too, and only here.
    """
    swapped = places.flip(-1)
    grid = (2.0 * swapped - 1.0)[:, :, None]
    found = F.grid_sample(maps.float(), grid, align_corners=True)
    return found[..., 0].transpose(1, 2).to(maps.dtype)


def farthest(places: Tensor, start: Tensor, count: int) -> Tensor:
    """Farthest-point sampling: indices (regions, count) into places (regions, points, 2), the first at `start` (regions,)."""
    chosen = [start]
    distance = torch.full(places.shape[:2], torch.inf, device=places.device)
    for _ in range(count - 1):
        last = _pick(places, chosen[-1][:, None])
        distance = torch.minimum(distance, ((places - last) ** 2).sum(-1))
        chosen.append(distance.max(dim=-1).indices)
    return torch.stack(chosen, dim=1)


def nearest(places: Tensor, anchors: Tensor) -> Tensor:
    """The NEIGHBOURS nearest points of each anchor: (regions, points, 2), (regions, anchors, 2) -> indices.

    By the expanded square as in the authors' code, because its rounding decides between points equally far away.
    """
    distance = -2 * anchors @ places.transpose(1, 2)
    distance = distance + (anchors**2).sum(-1)[:, :, None] + (places**2).sum(-1)[:, None]
    return distance.topk(NEIGHBOURS, dim=-1, largest=False, sorted=False).indices


def _pick(points: Tensor, indices: Tensor) -> Tensor:
    """Rows of (regions, points, channels) by indices (regions, ...) -> (regions, ..., channels)."""
    region = torch.arange(len(points), device=points.device).view(-1, *[1] * (indices.ndim - 1))
    return points[region, indices]
