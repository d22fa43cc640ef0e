"""Take turns, and mark a checkpoint, in each of several processes: OUT.

All but the leading process print, as json, what the leading one had written when it was their turn, and when they came to
write their own part of a checkpoint.
"""

import json
import sys
import time
from pathlib import Path

from accelerate import PartialState
from transformers import TrainerControl, TrainerState, TrainingArguments

from spr.running.ranks import leads
from spr.training.checkpoints import MARKER, MarkComplete
from spr.training.together import in_turn, leave

if __name__ == "__main__":
    out = Path(sys.argv[1])
    checkpoint = out / "checkpoint-1"
    checkpoint.mkdir(parents=True, exist_ok=True)
    PartialState(cpu=True).wait_for_everyone()
    with in_turn("cpu"):
        if leads():
            time.sleep(1)
            (out / "first").touch()
        seen = {"first": (out / "first").exists()}
    if not leads():
        time.sleep(1)
        seen["marked"] = (checkpoint / MARKER).exists()
    settings, state = TrainingArguments(str(out), use_cpu=True), TrainerState(global_step=1)
    MarkComplete({"pairs": "p"}, ["b", "a"]).on_save(settings, state, TrainerControl())
    leave()
    if not leads():
        print(json.dumps(seen))
