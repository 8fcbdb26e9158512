"""The command's reference page, made from the same parser as ``--help``, so that the two cannot differ.

python -m nnstudent.cli.reference > docs/reference/command.md
"""

from __future__ import annotations

import argparse
import inspect
import textwrap
from collections.abc import Iterator

from nnstudent.cli.main import build_parser

_HEAD = """\
# The command

Made from the command's own help: `python -m nnstudent.cli.reference > docs/reference/command.md`; a test keeps it so.

An error is one line; `--debug`, which every verb has, shows where it came from. Progress goes to standard error, results to
standard output. Every verb that makes results takes `--report FILE.json`: `schema`, `version`, `command`, and what the verb adds.

| exit code | of every verb |
|---|---|
| 0 | done |
| 1 | some case failed: the others are done, the failed are named |
| 2 | the input or the usage is wrong: nothing was begun, or not one case could be done; of `run`, a stage failed |
| 130 | stopped by Ctrl-C; the same command goes on |

`profile` passes on the code of the command that it runs; `doctor` exits with 1 where nothing can be segmented.
"""


def page() -> str:
    """The page, in Markdown."""
    (verbs,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    told = {choice.dest: choice.help or "" for choice in verbs._choices_actions}
    index = "\n".join(
        f"| [`{verb}`](#nnstudent-{verb}) | {cell(told.get(verb, ''))} |" for verb in verbs.choices
    )
    sections = [_section(verb, parser) for verb, parser in verbs.choices.items()]
    return "\n".join([_HEAD, "| verb | does |", "|---|---|", index, *sections]) + "\n"


def _section(verb: str, parser: argparse.ArgumentParser) -> str:
    actions = [action for action in parser._actions if action.dest not in ("help", "debug")]
    rows = [f"| {cell(_called(action))} | {cell(_meaning(parser, action))} |" for action in actions]
    prose = _prose(inspect.cleandoc(parser.description or ""))
    return "\n".join(
        ["", f"## nnstudent {verb}", "", *prose, "| argument | meaning |", "|---|---|", *rows]
    )


def _prose(text: str) -> Iterator[str]:
    """The docstring with its examples fenced: the paragraphs that are indented or begin with the command."""
    for paragraph in text.split("\n\n"):
        if paragraph.startswith((" ", "nnstudent ")):
            yield f"```text\n{textwrap.dedent(paragraph)}\n```\n"
        else:
            yield paragraph + "\n"


def _called(action: argparse.Action) -> str:
    if action.choices is not None and action.metavar is None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    else:
        value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    many = " …" if action.nargs in ("+", "*") else ""
    if not action.option_strings:
        return f"`{value}{many}`"
    takes = "" if action.nargs == 0 else f" {value}{many}"
    return f"`{', '.join(action.option_strings)}{takes}`" + (" (needed)" if action.required else "")


def _meaning(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    values = dict(vars(action), prog=parser.prog)
    return (action.help or "") % {
        key: value for key, value in values.items() if value is not argparse.SUPPRESS
    }


def cell(text: str) -> str:
    """Text as it may stand in a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
