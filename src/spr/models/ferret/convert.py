"""The published delta, Vicuna v1.3 and CLIP's tower become one directory that loads like any other.

Source: apply_delta.py of the authors' code. Their delta was taken in float16 and so is the sum. Not here: reading files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPImageProcessorPil, GenerationConfig

from spr.errors import ModelError, RecipeError
from spr.models.checkpoints import Checkpoint, listed, write_shards
from spr.models.directories import free, new_directory
from spr.models.ferret.config import FerretConfig
from spr.models.ferret.model import FerretForConditionalGeneration
from spr.models.ferret.names import NEW, TOWER, of_language, of_tower
from spr.models.ferret.processor import CHAT_TEMPLATE, FerretProcessor
from spr.models.ferret.published import published_config
from spr.models.ferret.tokenizer import published_tokenizer
from spr.models.quiet import quiet

Progress = Callable[[int, int], None]
_WHOSE = ("Ferret", "Vicuna", "CLIP's vision tower")
_TABLES = ("model.language_model.embed_tokens.weight", "lm_head.weight")
"""What has a row for `<region_fea>` that the base has not."""
ROUNDED = 1e-3
"""The share of sums that may round before a base is another one's; see `added`."""
_LOOKED_AT = 2**18
"""About how many numbers of a tensor are looked at, evenly spaced."""
_ZEROS = 0.01
"""The share of zeros in a tensor of the base before its file counts as unfinished; float16 weights hold next to none."""
NEW_TOKENS = 1024


def convert(delta: Path, base: Path, out: Path, vision: Path | None = None, progress: Progress | None = None) -> None:
    """Write Ferret to `out`, in float16: weights, configuration, tokenizer, processor, chat template, generation settings.

    `delta` is the published difference to Vicuna v1.3, which lies in `base`. `vision` is CLIP ViT-L/14-336, whole or its
    vision tower alone; the published difference lacks it, and where it is not given a folder `vision_tower` in
    `delta` is taken, as the authors' loader does. `progress` is told how many tensors of how many are done.

    `out` appears whole or not at all. Raises ModelError for what is no such checkpoint, names that are missing or
    unexpected, shapes that differ, a base that the delta was not taken from, and a full disk; RecipeError for folders that
    are not there and an `out` that is not empty.
    """
    place = free(out)
    delta, base = _folder("--delta", delta), _folder("--base", base)
    if vision is None and not (delta / "vision_tower").is_dir():
        raise ModelError(
            f"{delta} holds no vision_tower; give --vision with the folder of openai/clip-vit-large-patch14-336, the tower "
            "that Ferret was trained with"
        )
    vision = _folder("--vision", vision or delta / "vision_tower")
    config = published_config(delta, vision)
    tokenizer = published_tokenizer(delta, config.region_token_id)
    sources = _Sources.of(config, delta, base, vision)
    with new_directory(place) as partial:
        write_shards(partial, sources.sizes, sources.tensors(progress or (lambda _done, _total: None)))
        _write_rest(config, tokenizer, partial)


def _folder(option: str, path: Path) -> Path:
    if not path.expanduser().is_dir():
        raise RecipeError(f"{option} {path} is no folder; name one that is there")
    return path.expanduser()


def _write_rest(config: FerretConfig, tokenizer: object, folder: Path) -> None:
    side = dict.fromkeys(("height", "width"), config.vision_config.image_size)
    images = CLIPImageProcessorPil(size=side, crop_size=side, do_center_crop=False)
    patch = config.vision_config.patch_size
    text = config.text_config
    ends = {"bos_token_id": text.bos_token_id, "eos_token_id": text.eos_token_id, "pad_token_id": text.pad_token_id}
    with quiet():
        config.save_pretrained(folder)
        FerretProcessor(images, tokenizer, patch_size=patch, chat_template=CHAT_TEMPLATE).save_pretrained(folder)
        GenerationConfig(do_sample=False, max_new_tokens=NEW_TOKENS, **ends).save_pretrained(folder)


def added(name: str, change: Tensor, base: Tensor) -> Tensor:
    """A tensor of the delta and the base's of equal shape -> their sum in float16.

    Sees whether the delta was taken from this base, by float16 itself: a difference of two of its numbers is exact where they
    are within a factor of two of each other. So a sum that ends as near to the base's number is exact with the right base
    and never rounds. With numbers that the delta was not taken from it needs more digits than float16 has: it rounds in
    one of 4 places for weights of another training, and in one of 200 for the right ones once rounded to bfloat16.

    Raises ModelError when the sum is not finite, where parts of the base are zero (zeros take any difference without a
    rounding), and for a base that the delta was not taken from.
    """
    change, base = change.half(), base.half()
    total = change + base
    if not total.isfinite().all():
        raise ModelError(f"{name}: delta and base do not add up to finite numbers; a file is damaged")
    every = max(1, total.numel() // _LOOKED_AT)
    moved, stood, ended = (values.flatten()[::every].float() for values in (change, base, total))
    if (empty := float((stood == 0).float().mean())) > _ZEROS:
        raise ModelError(f"{name}: {empty:.1%} of the base's numbers are 0; a file is unfinished, fetch the base again, whole")
    telling = (moved != 0) & (moved.abs() <= 0.4 * stood.abs())
    rounded, of = int((telling & (ended != moved + stood)).sum()), int(telling.sum())
    if rounded > ROUNDED * of:
        raise ModelError(
            f"{name}: the delta was not taken from this base: {rounded / of:.1%} of the sums had to be rounded, and none is "
            "with the right one; give the float16 weights of lmsys/vicuna-7b-v1.3, or of 13b-v1.3 for Ferret 13B"
        )
    return total


@dataclass
class _Sources:
    """Where every tensor of the model comes from, by our name: `delta`, `base` and `tower` have the name there."""

    shapes: dict[str, tuple[int, ...]]
    delta: dict[str, str]
    base: dict[str, str]
    tower: dict[str, str]
    files: tuple[Checkpoint, Checkpoint, Checkpoint]

    @classmethod
    def of(cls, config: FerretConfig, delta: Path, base: Path, vision: Path) -> _Sources:
        """Raises ModelError where names or shapes are not those of the model."""
        with torch.device("meta"):
            model = FerretForConditionalGeneration(config)
        files = Checkpoint(delta), Checkpoint(base), Checkpoint(vision)
        rules = (of_language, of_language, of_tower)
        named = [_named(some, rule) for some, rule in zip(files, rules, strict=True)]
        shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        found = cls(shapes, named[0], named[1], named[2], files)
        found._check_names()
        found._check_shapes()
        return found

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes by name, in the order in which they are read: file after file of the delta."""
        order = sorted(self.delta, key=lambda name: (self.files[0].files[self.delta[name]].name, name))
        return {name: 2 * torch.Size(self.shapes[name]).numel() for name in [*order, *sorted(self.tower)]}

    def tensors(self, progress: Progress) -> Iterator[tuple[str, Tensor]]:
        """Names and values in that order. Raises ModelError as `added` does."""
        names = list(self.sizes)
        progress(0, len(names))
        for done, name in enumerate(names, start=1):
            value = self._tensor(name)
            progress(done, len(names))
            yield name, value

    def _tensor(self, name: str) -> Tensor:
        delta, base, tower = self.files
        if name in self.tower:
            return tower.tensor(self.tower[name]).half()
        value = delta.tensor(self.delta[name])
        if name not in self.base:
            return value.half()
        shared = base.tensor(self.base[name])
        total = added(name, value[: len(shared)], shared)
        return torch.cat([total, value[len(shared) :].half()])

    def _check_names(self) -> None:
        new = {name for name in self.shapes if name.startswith(NEW)}
        tower = {name for name in self.shapes if name.startswith(TOWER)}
        wanted = (set(self.shapes) - tower, set(self.shapes) - tower - new, tower)
        found = (self.delta, self.base, self.tower)
        for file, names, expected, whose in zip(self.files, found, wanted, _WHOSE, strict=True):
            if missing := expected - names.keys():
                raise ModelError(f"{file.folder} lacks {listed(missing)}; it is another model's, or incomplete")
            if unexpected := names.keys() - expected:
                raise ModelError(f"{file.folder} holds {listed(names[name] for name in unexpected)}, which {whose} has not")

    def _check_shapes(self) -> None:
        for file, names in zip(self.files, (self.delta, self.base, self.tower), strict=True):
            for name, there in names.items():
                shape, expected = file.shape(there), self.shapes[name]
                if file is self.files[1] and name in _TABLES:
                    expected = (expected[0] - 1, *expected[1:])
                if shape != expected:
                    raise ModelError(f"{file.folder}: {there} is {shape}, and Ferret's is {expected}; it is of another size")


def _named(checkpoint: Checkpoint, rule: Callable[[str], str | None]) -> dict[str, str]:
    """The checkpoint's names by ours, without what is no weight of the model's."""
    return {ours: name for name in checkpoint.files if (ours := rule(name)) is not None}
