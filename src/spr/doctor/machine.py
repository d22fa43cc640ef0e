"""What is installed and what it runs on, in words."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "numpy", "scipy", "pyarrow", "pillow")
_EXTRAS = {
    "openai": "answers of OpenAI-compatible servers (model.endpoint)",
    "spacy": "phrases of a description by a parser",
    "bitsandbytes": "4-bit weights (model.quantization)",
    "torchvision": "image processors that need it",
}
_GIB = 2**30


def versions() -> list[tuple[str, str]]:
    """(name, version) of this package, of Python, and of what a run depends on."""
    ours = ("spr", version("spatial-preference-rewarding"))
    return [ours, ("python", platform.python_version()), *((name, _version(name) or "not installed") for name in _PACKAGES)]


def devices() -> list[tuple[str, str]]:
    """(name, what it is) of the CPU and of every CUDA device: threads, or memory in GiB and whether it computes bfloat16."""
    cores, threads = os.cpu_count(), torch.get_num_threads()
    found = [("cpu", f"{platform.machine()}, {cores} cores, torch uses {threads} threads")]
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        free, total = (amount / _GIB for amount in torch.cuda.mem_get_info(index))
        with torch.cuda.device(index):
            bfloat16 = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bfloat16"
        found.append((f"cuda:{index}", f"{facts.name}, {free:.1f} of {total:.1f} GiB free, {bfloat16}"))
    return found if len(found) > 1 else [*found, ("cuda", "no CUDA device")]


def extras() -> list[tuple[str, str]]:
    """(name, version and what it is for) of the packages that some recipes need."""
    return [(name, f"{_version(name) or 'not installed'}: {purpose}") for name, purpose in _EXTRAS.items()]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
