"""Which of the processes this one is, where a launcher (torchrun, accelerate, deepspeed) started several for one training.

Read from the environment that every launcher sets, so that nobody has to load torch to know. One process leads: it alone
speaks and writes. Workers of a run, one a device, are no ranks: each is a process of its own.
"""

from __future__ import annotations

import os


def rank() -> int:
    """The number of this process among those of the launcher; 0 where there is no launcher."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """The number of this process on its machine, which is also that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world() -> int:
    """How many processes the launcher started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched() -> bool:
    """Whether a launcher started this process, be it the only one."""
    return "LOCAL_RANK" in os.environ


def leads() -> bool:
    """Whether this is the process that speaks and writes."""
    return rank() == 0
