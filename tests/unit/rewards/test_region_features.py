"""Region embeddings: what the masks cover, and that they agree with the stock classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPModel, SiglipModel

from spr.rewards.region_features import clip_region_features, region_masks, siglip_region_features


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def masks() -> torch.Tensor:
    """Three regions of a 4 x 4 grid for each of two images: all, the upper left 2 x 2, the last patch."""
    regions = [(0, 0, 64, 48), (0, 0, 32, 24), (60, 40, 64, 48)]
    return torch.from_numpy(region_masks(regions, (64, 48), 4)).expand(2, -1, -1)


def test_a_region_covers_the_patches_it_touches() -> None:
    # 80 x 40 pixels on 4 x 4 patches: 20 x 10 pixels each. x 25..60 touches columns 1, 2; y 10..21 touches rows 1, 2.
    mask = region_masks([(25, 10, 60, 21)], (80, 40), 4).reshape(4, 4)
    assert np.argwhere(mask).tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_edges_on_the_grid_take_no_neighbour_in() -> None:
    assert region_masks([(0.1 * 3 * 10, 0, 6, 4)], (12, 12), 4).reshape(4, 4).nonzero()[1].tolist() == [1, 1]


@pytest.mark.parametrize("region", [(5, 5, 5, 5), (79.9999999, 39, 80, 40), (80, 40, 80, 40), (-9, -9, -1, -1)])
def test_at_least_one_patch_is_always_in(region: tuple[float, float, float, float]) -> None:
    assert region_masks([region], (80, 40), 4).sum() == 1


@torch.inference_mode()
def test_clip_with_a_full_mask_is_the_stock_image_embedding(clip_dir: Path, pixels: torch.Tensor, masks: torch.Tensor) -> None:
    model = CLIPModel.from_pretrained(clip_dir).eval()
    features = clip_region_features(model, pixels, masks)
    torch.testing.assert_close(features[:, 0], model.get_image_features(pixels).pooler_output, atol=1e-5, rtol=0)
    assert (features[:, 0] - features[:, 1]).abs().max() > 1e-3


@torch.inference_mode()
def test_clip_regions_equal_the_stock_last_layer_with_a_four_dimensional_mask(
    clip_dir: Path, pixels: torch.Tensor, masks: torch.Tensor
) -> None:
    model = CLIPModel.from_pretrained(clip_dir, attn_implementation="sdpa").eval()
    vision = model.vision_model
    hidden = vision.pre_layrnorm(vision.embeddings(pixels))
    for layer in vision.encoder.layers[:-1]:
        hidden = layer(hidden, None)
    features = clip_region_features(model, pixels, masks)
    for region in range(masks.shape[1]):
        seen = torch.nn.functional.pad(masks[:, region], (1, 0), value=True)[:, None, None, :].expand(-1, 1, 17, -1)
        stock = vision.encoder.layers[-1](hidden, seen)[:, 0]
        expected = model.visual_projection(vision.post_layernorm(stock))
        torch.testing.assert_close(features[:, region], expected, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_siglip_with_a_full_mask_is_the_stock_image_embedding(
    siglip_dir: Path, pixels: torch.Tensor, masks: torch.Tensor
) -> None:
    model = SiglipModel.from_pretrained(siglip_dir).eval()
    features = siglip_region_features(model, pixels, masks)
    torch.testing.assert_close(features[:, 0], model.get_image_features(pixels).pooler_output, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_siglip_regions_equal_the_stock_head_on_their_patches_alone(
    siglip_dir: Path, pixels: torch.Tensor, masks: torch.Tensor
) -> None:
    model = SiglipModel.from_pretrained(siglip_dir).eval()
    tokens = model.vision_model(pixel_values=pixels).last_hidden_state
    features = siglip_region_features(model, pixels, masks)
    for image in range(2):
        for region in range(masks.shape[1]):
            gathered = tokens[image, masks[image, region]][None]
            torch.testing.assert_close(features[image, region], model.vision_model.head(gathered)[0], atol=1e-5, rtol=0)
