"""The libraries' progress bars and advice, off for a while: our own progress and errors say what users need."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from transformers.utils import logging as transformers_logging


@contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' progress bars and their advice about options that are set here on purpose."""
    loggers = [logging.getLogger(name) for name in ("transformers", "trl", "peft", "accelerate", "bitsandbytes")]
    levels = [logger.level for logger in loggers]
    deepspeed = logging.getLogger("DeepSpeed")  # sets its level, and speaks, when it is imported

    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    deepspeed.addFilter(is_error)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        deepspeed.removeFilter(is_error)
        if bars:
            transformers_logging.enable_progress_bar()


def quiet_from_disk(name: str) -> AbstractContextManager[None]:
    """`quiet` while a checkpoint is read from a directory; a download from the hub keeps its progress bars."""
    return quiet() if Path(name).expanduser().is_dir() else nullcontext()
