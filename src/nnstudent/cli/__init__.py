"""The command: one small file per verb. Only this package prints."""

from nnstudent.cli.main import main

__all__ = ["main"]
