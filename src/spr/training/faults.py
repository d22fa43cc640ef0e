"""What stops a training long after the preflight, as errors that say what to do."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from spr.errors import DataError, ModelError, SprError
from spr.images import ImageFault
from spr.recipe_train import Train
from spr.running.files import writing

_FAR = (ConnectionError, TimeoutError, socket.gaierror, ssl.SSLError)
_UNREACHED = frozenset({None, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH})
"""Numbers that no disk gives; libraries of requests give none at all."""


@contextmanager
def told(out: Path, train: Train, saved: Callable[[], int]) -> Iterator[None]:
    """Raises DataError for a photo that changed, ModelError where the device's memory is full, DiskError where nothing can be
    written below `out`, and SprError where something far away (a tracker's server) was not reached. `saved` tells the update
    that the training would go on from (0: none)."""
    try:
        yield
    except ImageFault as error:
        raise DataError(
            f"a photo changed while training ({error}); put it back and give the same command again, without --force"
        ) from None
    except torch.OutOfMemoryError as error:
        raise ModelError(f"training needs more memory than the device has left; {_smaller(saved())}") from error
    except OSError as error:
        if isinstance(error, BrokenPipeError) and not train.report_to:
            raise  # whoever read what is said is gone
        if not isinstance(error, _FAR) and error.errno not in _UNREACHED:
            with writing(out):
                raise
        said = " ".join(str(error).split())
        tracked = "; without train.report_to nothing is sent anywhere" if train.report_to else ""
        raise SprError(f"training was stopped by {type(error).__name__}: {said}; {_again(saved())}{tracked}") from error


def _smaller(step: int) -> str:
    return (
        f"free it, then {_again(step)}; or lower train.batch_size or the pixel limits in model.processor, or set "
        "train.gradient_checkpointing: true, and start over with --force"
    )


def _again(step: int) -> str:
    return f"the same command, without --force, goes on from update {step:,}" if step else "give the same command again"
