"""The command called in this process, which spares the imports of a new one."""

from __future__ import annotations

import logging
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from subprocess import CompletedProcess

from nnstudent.cli import main


def call(*words: object) -> CompletedProcess[str]:
    """Run the command; its exit code and what it printed and logged, as of a process."""
    out, err = StringIO(), StringIO()
    # The test runner's handlers would keep the command from setting up its own.
    handlers, level = logging.root.handlers[:], logging.root.level
    logging.root.handlers[:] = []
    try:
        with redirect_stdout(out), redirect_stderr(err):
            try:
                code = main([str(word) for word in words])
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    return CompletedProcess([str(word) for word in words], code, out.getvalue(), err.getvalue())
