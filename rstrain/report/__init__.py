"""One self-contained HTML page from run folders."""

from rstrain.report.page import build_report

__all__ = ["build_report"]
