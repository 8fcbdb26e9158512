"""A run as one offline HTML file."""

from nnstudent.evaluation.report.write import write_report

__all__ = ["write_report"]
