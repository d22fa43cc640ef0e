"""Stage 7: a run directory becomes a folder of static pages, and its figures files of their own. No page loads anything."""

from spr.report.figures import write_figures
from spr.report.page import write_report

__all__ = ["write_figures", "write_report"]
