"""Region embeddings: what the masks cover, and that they agree with the stock classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPModel, Siglip2Model, SiglipModel

import tiny_dual_encoders
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


def test_a_grid_need_not_be_square() -> None:
    # 80 x 40 pixels on 4 x 2 patches of 20 x 20; x 25..60 touches columns 1, 2; y 10..21 touches both rows.
    mask = region_masks([(25, 10, 60, 21)], (80, 40), (4, 2)).reshape(2, 4)
    assert np.argwhere(mask).tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]


def test_a_fraction_of_a_patch_at_the_edge_is_no_patch() -> None:
    # 100 pixels on 2.5 patches of 40 each: x 40..80 is column 1 alone, and what lies beyond 80 falls to column 1 as well.
    regions = [(40, 0, 80, 40), (85, 0, 100, 40)]
    masks = region_masks(regions, (100, 100), (2.5, 2.5)).reshape(2, 2, 2)
    assert masks.tolist() == [[[False, True], [False, False]]] * 2


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


@torch.inference_mode()
@pytest.mark.parametrize("start_layer", [0, 1, 2])
def test_clip_regions_limited_from_a_layer_on_equal_the_stock_layers_on_their_tokens_alone(
    clip_dir: Path, pixels: torch.Tensor, masks: torch.Tensor, start_layer: int
) -> None:
    model = CLIPModel.from_pretrained(clip_dir).eval()
    vision = model.vision_model
    hidden = vision.pre_layrnorm(vision.embeddings(pixels))
    for layer in vision.encoder.layers[:start_layer]:
        hidden = layer(hidden, None)
    features = clip_region_features(model, pixels, masks, start_layer)
    for image in range(2):
        for region in range(masks.shape[1]):
            alone = hidden[image, torch.nn.functional.pad(masks[image, region], (1, 0), value=True)][None]
            for layer in vision.encoder.layers[start_layer:]:
                alone = layer(alone, None)
            expected = model.visual_projection(vision.post_layernorm(alone[0, 0]))
            torch.testing.assert_close(features[image, region], expected, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_clip_regions_limited_in_the_last_layer_only_are_the_same_in_either_mode(
    clip_dir: Path, pixels: torch.Tensor, masks: torch.Tensor
) -> None:
    model = CLIPModel.from_pretrained(clip_dir).eval()
    torch.testing.assert_close(
        clip_region_features(model, pixels, masks), clip_region_features(model, pixels, masks, start_layer=2), atol=1e-5, rtol=0
    )


@torch.inference_mode()
def test_in_a_tower_of_one_layer_clip_knows_no_difference_and_siglip_does(
    tmp_path: Path, pixels: torch.Tensor, masks: torch.Tensor
) -> None:
    clip = CLIPModel.from_pretrained(tiny_dual_encoders.build("clip", tmp_path / "clip", layers=1)).eval()
    last, everywhere = clip_region_features(clip, pixels, masks), clip_region_features(clip, pixels, masks, start_layer=0)
    torch.testing.assert_close(last, everywhere, atol=1e-5, rtol=0)
    # SigLIP's last step is its head; its one layer is limited in `all` and not in `last`.
    siglip = SiglipModel.from_pretrained(tiny_dual_encoders.build("siglip", tmp_path / "siglip", layers=1)).eval()
    last, everywhere = (
        siglip_region_features(siglip, pixels, masks),
        siglip_region_features(siglip, pixels, masks, start_layer=0),
    )
    torch.testing.assert_close(last[:, 0], everywhere[:, 0], atol=1e-5, rtol=0)
    assert (last[:, 1] - everywhere[:, 1]).abs().max() > 1e-3


@torch.inference_mode()
@pytest.mark.parametrize("start_layer", [0, 1, 2])
def test_siglip_regions_limited_from_a_layer_on_equal_the_stock_tower_on_their_patches_alone(
    siglip_dir: Path, pixels: torch.Tensor, masks: torch.Tensor, start_layer: int
) -> None:
    model = SiglipModel.from_pretrained(siglip_dir).eval()
    vision = model.vision_model
    hidden = vision.embeddings(pixels)
    for layer in vision.encoder.layers[:start_layer]:
        hidden = layer(hidden, None)
    features = siglip_region_features(model, pixels, masks, start_layer)
    for image in range(2):
        for region in range(masks.shape[1]):
            alone = hidden[image, masks[image, region]][None]
            for layer in vision.encoder.layers[start_layer:]:
                alone = layer(alone, None)
            expected = vision.head(vision.post_layernorm(alone))[0]
            torch.testing.assert_close(features[image, region], expected, atol=1e-5, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("start_layer", [None, 0, 1])
def test_siglip_of_native_aspect_agrees_with_the_stock_model_for_grids_of_any_shape(
    tmp_path: Path, start_layer: int | None
) -> None:
    # 5 x 3 and 2 x 7 patches of 8 x 8 x 3 values, padded to 16.
    model = Siglip2Model.from_pretrained(tiny_dual_encoders.build("siglip2", tmp_path)).eval()
    shapes = torch.tensor([[5, 3], [2, 7]])
    filled = torch.arange(16) < shapes.prod(dim=1, keepdim=True)
    values = torch.randn(2, 16, 192, generator=torch.Generator().manual_seed(0))
    inputs = {"pixel_values": values, "pixel_attention_mask": filled.int(), "spatial_shapes": shapes}
    features = siglip_region_features(model, masks=filled[:, None], start_layer=start_layer, **inputs)
    torch.testing.assert_close(features[:, 0], model.get_image_features(**inputs).pooler_output, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_more_regions_than_are_computed_at_a_time_are_as_alone(clip_dir: Path, pixels: torch.Tensor) -> None:
    model = CLIPModel.from_pretrained(clip_dir).eval()
    masks = torch.rand(2, 50, 16, generator=torch.Generator().manual_seed(0)) < 0.4
    masks[..., 3] = True
    together = clip_region_features(model, pixels, masks, start_layer=1)
    for region in (0, 13, 14, 49):
        alone = clip_region_features(model, pixels, masks[:, [region]], start_layer=1)
        torch.testing.assert_close(together[:, [region]], alone, atol=1e-5, rtol=0)
