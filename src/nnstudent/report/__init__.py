"""A run as one offline HTML file, and its tables as Markdown and LaTeX."""

from nnstudent.report.export import write_tables
from nnstudent.report.html import write_report

__all__ = ["write_report", "write_tables"]
