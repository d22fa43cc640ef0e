"""Train as told, in as many processes as a launcher starts of this: MODEL OPTIONS IMAGE_ROOT OUT [START].

The leading process prints, as json, how many of the model's weights were parted over the processes while it trained.
"""

import json
import os
import sys
from functools import partial
from pathlib import Path

import torch
import trl
from accelerate import PartialState
from accelerate.utils import DeepSpeedPlugin, DistributedType
from torch.distributed.tensor import DTensor
from transformers import TrainingArguments

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))

from conftest_training import make_pair, make_recipe

from spr.pipeline.foresight import foreseen
from spr.training import job
from spr.training.together import leave
from spr.training.trainers import PolicySFTTrainer, SPRDPOTrainer

parted = 0


def watched(kind):
    """A trainer that counts the parts of the model that this process does not hold whole."""

    class Watched(kind):
        def training_step(self, *args, **kwargs):
            global parted
            parted = sum(isinstance(w, DTensor) or w.numel() == 0 for w in self.model.parameters())
            return super().training_step(*args, **kwargs)

    return Watched


def as_on_accelerators(kind: DistributedType) -> None:
    """accelerate parts weights on accelerators alone, and on CPUs silently leaves it: so it is told that these are some."""
    begin = PartialState.__init__

    def told(self, cpu=False, **kwargs):
        begin(self, cpu and kind is not DistributedType.DEEPSPEED, **kwargs)
        state, rank, world = PartialState._shared_state, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        if state["distributed_type"] is DistributedType.MULTI_CPU or state["num_processes"] != world:
            state |= {"distributed_type": kind, "backend": "gloo", "num_processes": world}
            state |= {"process_index": rank, "local_process_index": rank}

    PartialState.__init__ = told


def deepspeed_on_cpus() -> None:
    """DeepSpeed itself runs on CPUs; transformers asks for it only where no CPU was asked for."""
    as_on_accelerators(DistributedType.DEEPSPEED)
    begin = trl.DPOConfig.__init__
    trl.DPOConfig.__init__ = lambda self, *args, **kwargs: begin(self, *args, **{**kwargs, "use_cpu": False})
    TrainingArguments.world_size = property(lambda self: int(os.environ["WORLD_SIZE"]))
    settle = DeepSpeedPlugin.__post_init__

    def all_parted(self) -> None:  # by default DeepSpeed keeps weights as small as these whole
        settle(self)
        self.hf_ds_config.config["zero_optimization"]["stage3_param_persistence_threshold"] = 0

    DeepSpeedPlugin.__post_init__ = all_parted


if __name__ == "__main__":
    torch.set_num_threads(1)
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        as_on_accelerators(DistributedType.MULTI_GPU)
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        deepspeed_on_cpus()
    model, options, image_root, out, *start = sys.argv[1:]
    job.SPRDPOTrainer, job.PolicySFTTrainer = watched(SPRDPOTrainer), watched(PolicySFTTrainer)
    pairs, recipe = [make_pair(i) for i in range(6)], make_recipe(Path(model), **json.loads(options))
    job.train(
        pairs,
        recipe,
        Path(image_root),
        Path(out),
        foresee=partial(foreseen, recipe, "cpu"),
        start=Path(start[0]) if start else None,
    )
    leave()
    if os.environ["RANK"] == "0":
        print(json.dumps({"parted": parted}))
