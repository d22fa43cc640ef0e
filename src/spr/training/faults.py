"""What stops a training long after the preflight, as errors that say what to do."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from spr.errors import DataError, ModelError, SprError
from spr.images import ImageFault
from spr.recipe_train import Train
from spr.running.files import writing
from spr.training.checkpoints import last_marked

_FAR = (ConnectionError, TimeoutError, socket.gaierror, ssl.SSLError)


@contextmanager
def told(out: Path, checkpoints: Path, train: Train) -> Iterator[None]:
    """Raises DataError for a photo that changed, ModelError where the device's memory is full, DiskError where nothing can be
    written below `out`, and SprError where something far away (a tracker's server) was not reached."""
    try:
        yield
    except ImageFault as error:
        raise DataError(
            f"a photo changed while training ({error}); put it back and give the same command again, without --force"
        ) from None
    except torch.OutOfMemoryError as error:
        raise ModelError(f"training needs more memory than the device has left; {_smaller(checkpoints)}") from error
    except BrokenPipeError:  # whoever read what is said is gone
        raise
    except OSError as error:
        if not isinstance(error, _FAR) and error.errno is not None:
            with writing(out):
                raise
        said = " ".join(str(error).split())
        tracked = "; without train.report_to nothing is sent anywhere" if train.report_to else ""
        raise SprError(f"training was stopped by {type(error).__name__}: {said}; {_again(checkpoints)}{tracked}") from error


def _smaller(checkpoints: Path) -> str:
    return (
        f"free it, then {_again(checkpoints)}; or lower train.batch_size or the pixel limits in model.processor, or set "
        "train.gradient_checkpointing: true, and start over with --force"
    )


def _again(checkpoints: Path) -> str:
    path, step = last_marked(checkpoints)
    return f"the same command, without --force, goes on from update {step:,}" if path else "give the same command again"
