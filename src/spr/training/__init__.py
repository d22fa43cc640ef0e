"""Stage 5: preference pairs -> a policy, by DPO or SFT with TRL and PEFT."""

import logging
import os

# Both are read when the libraries are imported, which the modules here do.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # TRL reports every trainer it builds
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # PEFT imports it where it is there, used or not
