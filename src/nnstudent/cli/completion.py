"""Print the script that lets a shell complete verbs, options and class names.

  nnstudent completion bash >> ~/.bashrc
  nnstudent completion zsh >> ~/.zshrc
  nnstudent completion fish > ~/.config/fish/completions/nnstudent.fish

Then open a new shell: `nnstudent seg<Tab>`, `--device <Tab>` and
`--organs liv<Tab>` are completed. Needs the extra [completion].
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from typing import Any

from nnstudent.choices import SHELLS

HELP = "let a shell complete verbs, options and class names"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    from nnstudent.errors import require

    argcomplete = require("argcomplete", extra="completion", why="shell completion")
    print(argcomplete.shellcode(["nnstudent"], shell=args.shell))
    return 0


def answer_shell(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks for completions, and end; do nothing otherwise."""
    if "_ARGCOMPLETE" not in os.environ:
        return
    try:
        import argcomplete
    except ImportError:  # removed since the script was printed
        raise SystemExit(1) from None
    argcomplete.autocomplete(parser)


def listed(words: Callable[[], Iterable[str]] | Iterable[str]) -> Callable[..., list[str]]:
    """Return a completer of the last of several words that are separated by commas.

    Args:
        words: The words, or a function that returns them.
    """

    def complete(prefix: str = "", **_: Any) -> list[str]:
        before, comma, _last = prefix.rpartition(",")
        used = set(before.split(","))
        known = words() if callable(words) else words
        return [f"{before}{comma}{word}" for word in known if word not in used]

    return complete
