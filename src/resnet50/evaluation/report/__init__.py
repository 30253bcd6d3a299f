"""`report.html`: everything a run folder holds, on one page that needs only a browser."""

from resnet50.evaluation.report.render import write_report

__all__ = ["write_report"]
