"""A run as one offline HTML file, and its tables as Markdown and LaTeX."""

from nnstudent.evaluation.report.text import write_tables
from nnstudent.evaluation.report.write import write_report

__all__ = ["write_report", "write_tables"]
