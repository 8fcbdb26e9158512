"""The command: one small file a verb; the only room that prints."""

from nnstudent.cli.main import main

__all__ = ["main"]
