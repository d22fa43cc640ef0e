"""From a recipe to a run: builds the stages and jobs, decides what is stale, runs them in the order of the flow.

The one place that imports every stage. Not here: how a shard is made (`spr.running`), what a stage does.
"""

from spr.pipeline.evaluating import evaluate
from spr.pipeline.planning import PlanRow, plan
from spr.pipeline.publishing import merge, push
from spr.pipeline.rescoring import evaluate_files, write_questions
from spr.pipeline.rounds import adapter_of
from spr.pipeline.run import STAGES, existing, export_pairs, opened, report, run, train

__all__ = [
    "STAGES",
    "PlanRow",
    "adapter_of",
    "evaluate",
    "evaluate_files",
    "existing",
    "export_pairs",
    "merge",
    "opened",
    "plan",
    "push",
    "report",
    "run",
    "train",
    "write_questions",
]
