"""`spr models convert`: published checkpoints of the families that are brought along here, made ready to load.

One command a family; what it does is in the family's own package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Models that transformers does not have.", no_args_is_help=True, rich_markup_mode=None)
convert = typer.Typer(help="Make a directory that loads like any other.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(convert, name="convert")

Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="A new directory.")]


@convert.command()
def cogvlm(
    weights: Annotated[Path, typer.Option("--weights", metavar="W", help="A copy of THUDM/cogvlm-grounding-generalist-hf.")],
    tokenizer: Annotated[Path, typer.Option("--tokenizer", metavar="T", help="The tokenizer of lmsys/vicuna-7b-v1.5.")],
    out: Out,
) -> None:
    """CogVLM 17B: the published weights and Vicuna's tokenizer."""
    from spr.models.cogvlm.convert import convert as convert_cogvlm
    from spr.running.progress import JobMeter

    with JobMeter() as meter:
        convert_cogvlm(weights, tokenizer, out, lambda done, total: meter("convert", done, total, {}))
    print(out)


@convert.command()
def ferret(
    delta: Annotated[Path, typer.Option("--delta", metavar="D", help="The published difference, unpacked.")],
    base: Annotated[Path, typer.Option("--base", metavar="B", help="Vicuna v1.3 of the same size, in float16.")],
    out: Out,
    vision: Annotated[
        Path | None,
        typer.Option("--vision", metavar="V", help="CLIP ViT-L/14-336; default: vision_tower in the difference's folder."),
    ] = None,
) -> None:
    """Ferret 7B or 13B: the published difference, Vicuna and CLIP's vision tower."""
    from spr.models.ferret.convert import convert as convert_ferret
    from spr.running.progress import JobMeter

    with JobMeter() as meter:
        convert_ferret(delta, base, out, vision, lambda done, total: meter("convert", done, total, {}))
    print(out)
