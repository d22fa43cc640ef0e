"""Train as told, and kill this process without warning at an update: MODEL OPTIONS IMAGE_ROOT OUT UPDATE."""

import json
import os
import signal
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))

from conftest_training import make_pair, make_recipe

from spr.training.job import train

if __name__ == "__main__":
    torch.set_num_threads(1)
    model, options, image_root, out, update = sys.argv[1:]

    def die(phase: str, done: int, total: int, metrics: object) -> None:
        if phase == "train" and done == int(update):
            os.kill(os.getpid(), signal.SIGKILL)

    recipe = make_recipe(Path(model), **json.loads(options))
    train([make_pair(i) for i in range(6)], recipe, Path(image_root), Path(out), progress=die)
