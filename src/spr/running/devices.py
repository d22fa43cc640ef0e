"""Names of devices, and the number of CPU threads, which sums of floats depend on."""

from __future__ import annotations

from collections.abc import Sequence

from spr.errors import RecipeError


def device_names(devices: Sequence[str | int]) -> tuple[str, ...]:
    """`resources.devices` -> names that torch knows: auto is cuda:0 where there is one and cpu otherwise, 1 is cuda:1.

    Raises RecipeError for a device that this machine has not, or that torch cannot read.
    """
    import torch

    names = tuple(_name(device, torch.cuda.is_available()) for device in devices)
    for name in names:
        try:
            device = torch.device(name)
        except RuntimeError:
            raise RecipeError(f"resources.devices holds {name!r}; write auto, cpu, a GPU's number or cuda:number") from None
        count = torch.cuda.device_count()
        if device.type == "cuda" and (device.index or 0) >= count:
            raise RecipeError(
                f"resources.devices holds {name}, but this machine has {count} CUDA devices; name one it has, or cpu"
            )
    return names


def _name(device: str | int, has_cuda: bool) -> str:
    if device == "auto":
        return "cuda:0" if has_cuda else "cpu"
    return f"cuda:{device}" if isinstance(device, int) or device.isdigit() else device


def limit_threads(threads: int) -> None:
    """Let torch use so many CPU threads in this process, in the main one as in workers: equal threads, equal floats."""
    import torch

    torch.set_num_threads(threads)


def free_memory() -> None:
    """Give back what a finished stage held on its device."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
