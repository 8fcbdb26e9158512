"""``nnstudent VERB``: finds the verb, runs it, turns an error into one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import nnstudent
from nnstudent.cli.completion import answer_shell
from nnstudent.errors import InputError, NnStudentError, OutputError, one_line
from nnstudent.io.atomic import check_file
from nnstudent.machine import allow_open_files
from nnstudent.readable import HANDLER
from nnstudent.words import did_you_mean

# Each verb is a module of this package with HELP (one line), add_arguments(parser) and
# run(args) → exit code. It imports nothing heavy at its top, so that --help is quick.
_GROUPS = {
    "segment and measure": ("segment", "qc", "evaluate", "stats", "serve"),
    "learn from your own scans": (
        "run", "distill", "index", "teach", "label", "select", "study", "export", "report",
    ),
    "label maps and models of other tools": ("relabel", "audit", "maps", "model"),
    "try, measure, set up": ("phantom", "profile", "doctor", "info", "completion"),
}  # fmt: skip
VERBS = tuple(verb for verbs in _GROUPS.values() for verb in verbs)

_DESCRIPTION = """\
Segments 13 abdominal organs in a CT in seconds, on a laptop's processor, and
trains such a segmenter from your own scans, most of which need no labels."""

_EPILOG = """\
Segment a scan:
  nnstudent segment ct.nii.gz -o labels.nii.gz
Learn from your own scans:
  nnstudent run cases.csv -o RUN
Try it without patients:
  nnstudent phantom PHANTOMS --cases 20
  nnstudent run PHANTOMS -o RUN --preset demo
Read how a verb is used:
  nnstudent VERB --help

Exit codes: 0 done; 1 some case failed, the others are done; 2 the input or the
usage is wrong."""


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, as all errors of the command are."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse ``--option=--``, from which argparse makes an empty list instead of a value."""
        words = list(sys.argv[1:] if args is None else args)
        if self._subparsers is not None:  # the verb's own parser says it
            words = []
        for word in words[: words.index("--") if "--" in words else None]:
            if re.fullmatch(r"--[\w-]+=--|-[A-Za-z]--", word):
                self.error(f"{word}: -- is no value; expected one such as --help says")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End the command with exit code 2."""
        self.exit(2, f"{self.prog}: {' '.join(message.split())}; see: {self.prog} --help\n")

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """End the command because of words that it does not know."""
        options = self._option_string_actions
        hints = [
            hint
            for word in words
            if word.startswith("-") and (hint := did_you_mean(word.partition("=")[0], options))
        ]
        self.error(f"unrecognized arguments: {' '.join(words)}{''.join(hints[:1])}")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            what = "no such verb" if action.dest == "verb" else "no such choice"
            hint = did_you_mean(str(value), choices) or f"; choose from {', '.join(choices)}"
            raise argparse.ArgumentError(action, f"{what}: {value}{hint}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; None for those of this process.

    Returns:
        The exit code.
    """
    make_streams_safe()
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        _check_open_files()  # first of all: every import opens a file
        parser = build_parser()
        answer_shell(parser)
        args, unknown = parser.parse_known_args(words)
    except NnStudentError as error:  # also of an argument that is looked up, as a model's name
        return _print_error(words[0] if words else "", error)
    if unknown:
        args.parser.refuse(unknown)
    _set_up_logging(debug=args.debug)
    try:
        for path in (getattr(args, name, None) for name in ("report", "csv")):
            if path is not None:
                _check_output(path, args)
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except SystemExit:
        raise
    except BaseException as error:
        if args.debug and not isinstance(error, KeyboardInterrupt | BrokenPipeError):
            raise
        return _print_error(args.verb, error)


def _check_open_files() -> None:
    fewest = 64
    allowed = allow_open_files(fewest)
    if allowed < fewest:
        raise InputError(
            f"this process may open only {allowed} files; expected at least {fewest}; raise the "
            "limit, for example with: ulimit -n 1024"
        )


def _set_up_logging(*, debug: bool) -> None:
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING, format="%(message)s", stream=sys.stderr
    )
    logging.getLogger("nnstudent").setLevel(logging.DEBUG if debug else logging.INFO)
    # nibabel's remarks do not name the file.
    logging.getLogger("nibabel").setLevel(logging.DEBUG if debug else logging.ERROR)


def make_streams_safe() -> None:
    """Spell out characters that a terminal or file cannot show, so that none ends the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)


def _print_error(verb: str, error: BaseException) -> int:
    """Print in one line what ended the command and return the exit code."""
    if isinstance(error, BrokenPipeError):  # such as `| head`: nobody reads the rest
        _drop_output()
        return 0
    if isinstance(error, KeyboardInterrupt):
        line, code = "stopped; finished work is kept, and the same command goes on from it", 130
    elif isinstance(error, NnStudentError):
        line, code = one_line(error), error.exit_code
    elif isinstance(error, OSError | MemoryError):
        line, code = one_line(error), 2
    elif isinstance(error, ImportError) and "shared object" in str(error):
        line, code = f"a library cannot be loaded ({error}); is there enough memory for it?", 2
    else:
        line, code = f"{one_line(error)}; run it again with --debug for the traceback", 2
    with suppress(OSError):  # standard error is closed
        print(
            f"{'nnstudent ' + verb if verb else 'nnstudent'}: {line}", file=sys.stderr, flush=True
        )
    try:
        sys.stdout.flush()
    except OSError:  # such as a full disk: Python would try again at exit and fail again
        _drop_output()
    return code


def _drop_output() -> None:
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check_output(path: Path, args: argparse.Namespace) -> None:
    """Refuse a file that cannot be written before hours of work.

    A verb that also prints its result only warns.
    """
    try:
        check_file(path)
    except OutputError as error:
        if not getattr(args, "prints_result", False):
            raise
        print(f"nnstudent {args.verb}: warning: {error}", file=sys.stderr)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command line with every verb."""
    parser = OneLineParser(
        prog="nnstudent",
        epilog=_EPILOG,
        formatter_class=_VerbsInDescription,
    )
    parser.add_argument("--version", action="version", version=f"nnstudent {nnstudent.__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in VERBS:
        module = importlib.import_module(f"nnstudent.cli.{verb}")
        sub = verbs.add_parser(
            verb,
            help=module.HELP,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)
        sub.add_argument(
            "--debug", action="store_true", help="show a traceback when something goes wrong"
        )
        sub.usage = _usage(sub)
        sub.set_defaults(run=module.run, parser=sub)
    helps = {choice.dest: choice.help or "" for choice in verbs._choices_actions}
    parser.description = "\n".join([_DESCRIPTION, *_overview(helps)])
    return parser


class _VerbsInDescription(argparse.RawDescriptionHelpFormatter):
    """Leaves out argparse's list of the verbs: the description has them in groups."""

    def add_arguments(self, actions: Any) -> None:
        """Add the arguments other than the verb."""
        super().add_arguments([action for action in actions if action.dest != "verb"])


def _overview(helps: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines that list the verbs by what they are for."""
    width = max(map(len, helps))
    for title, verbs in _GROUPS.items():
        yield f"\n{title}:"
        for verb in verbs:
            first, *more = textwrap.wrap(helps[verb], 80 - width - 4)
            yield f"  {verb:<{width}}  {first}"
            yield from (" " * (width + 4) + line for line in more)


def _usage(parser: argparse.ArgumentParser) -> str:
    """Return what must be given; the options are listed below it."""
    actions = [*parser._get_positional_actions(), *parser._get_optional_actions()]
    needed = [
        " ".join([*action.option_strings[:1], str(action.metavar or action.dest.upper())])
        for action in actions
        if action.required
    ]
    for group in parser._mutually_exclusive_groups:
        if group.required:
            ways = [f"{a.option_strings[0]} {a.metavar}" for a in group._group_actions]
            needed.append("|".join(ways))
    words = [parser.prog, *needed, "[options]"]
    command = words[1:2] if words[1].startswith("--") else []  # the command line of another
    return " ".join(words if not command else [parser.prog, "[options]", *command])
