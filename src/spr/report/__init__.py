"""Stage 7: a run directory becomes one static page, and its figures files of their own. No network, no JavaScript."""

from spr.report.figures import write_figures
from spr.report.page import write_report

__all__ = ["write_figures", "write_report"]
