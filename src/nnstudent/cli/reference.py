"""Makes the command's reference page from the same parser as ``--help``.

python -m nnstudent.cli.reference > docs/reference/command.md
"""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
from collections.abc import Iterator

from nnstudent.cli.main import build_parser

_HEAD = """\
# The command

This page is made from the command's own help by
`python -m nnstudent.cli.reference > docs/reference/command.md`; a test keeps the two equal.

An error is one line. With `--debug`, which every verb has, it comes with a traceback. Progress goes
to standard error, results to standard output. Every verb that makes results takes
`--report FILE.json`, which has `schema`, `version`, `command` and what the verb adds
([reports](reports.md)).

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | some case failed; the others are done, and the failed ones are named |
| 2 | the input or the usage is wrong, and no case could be done; for `run`, a stage failed |
| 130 | stopped by Ctrl-C; the same command goes on from there |

`profile` passes on the exit code of the command that it runs. `doctor` exits with 1 if no
engine works.
"""


def page() -> str:
    """Return the page, in Markdown."""
    (verbs,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    helps = {choice.dest: choice.help or "" for choice in verbs._choices_actions}
    index = "\n".join(
        f"| [`{verb}`](#nnstudent-{verb}) | {cell(helps.get(verb, ''))} |" for verb in verbs.choices
    )
    sections = [_section(verb, parser) for verb, parser in verbs.choices.items()]
    return "\n".join([_HEAD, "| verb | what it does |", "|---|---|", index, *sections]) + "\n"


def _section(verb: str, parser: argparse.ArgumentParser) -> str:
    prose = _prose(inspect.cleandoc(parser.description or ""))
    return "\n".join(["", f"## nnstudent {verb}", "", *prose, *_tables(parser)]).rstrip()


def _tables(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the lines of a table for each group of arguments that ``--help`` shows."""
    positional, common, *groups = parser._action_groups
    rows = [*positional._group_actions, *common._group_actions]
    for title, actions in [("", rows), *((g.title or "", g._group_actions) for g in groups)]:
        shown = [action for action in actions if action.dest not in ("help", "debug")]
        if not shown:
            continue
        if title:
            yield f"{title[0].upper()}{title[1:]}:\n"
        yield "| argument | meaning |\n|---|---|"
        for action in shown:
            yield f"| {cell(_signature(action))} | {cell(help_text(parser, action))} |"
        yield ""


def _prose(text: str) -> Iterator[str]:
    """Yield the paragraphs of a docstring, with the examples, which are indented, fenced."""
    for paragraph in text.split("\n\n"):
        if paragraph.startswith(" "):
            yield f"```text\n{textwrap.dedent(paragraph)}\n```\n"
        else:
            yield paragraph + "\n"


def _signature(action: argparse.Action) -> str:
    if action.choices is not None and action.metavar is None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    else:
        value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    many = " …" if action.nargs in ("+", "*") else ""
    if not action.option_strings:
        return f"`{value}{many}`"
    takes = "" if action.nargs == 0 else f" {value}{many}"
    required = " (required)" if action.required else ""
    return f"`{', '.join(action.option_strings)}{takes}`{required}"


def help_text(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Return an argument's help as ``--help`` shows it."""
    values = dict(vars(action), prog=parser.prog)
    return (action.help or "") % {
        key: value for key, value in values.items() if value is not argparse.SUPPRESS
    }


def cell(text: str) -> str:
    """Return text as it may stand in a cell of a Markdown table."""
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
