"""Code that the verbs share: options, the progress display, the report file."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nnstudent
from nnstudent.choices import ENGINES, TRAINING_DEVICES
from nnstudent.errors import Failure
from nnstudent.io.atomic import write_json
from nnstudent.io.parts import WHOLE, parse_part
from nnstudent.pipeline.presets import preset_names
from nnstudent.readable import readable
from nnstudent.words import duration

REPORT_SCHEMA = 1
Options = argparse.ArgumentParser | argparse._ArgumentGroup
SOURCE_HELP = (
    ".csv or .toml list, FLARE folder, nnU-Net raw dataset, DICOM export, or cohort folder"
)
COHORT_HELP = "cohort folder, made by: nnstudent index"


# To a radiologist a window is a range of densities; what runs over windows is the segmentation.
SHOWN = {"windows": "segmenting"}


class Display:
    """Shows progress as a bar on a terminal, and as a plain line every few seconds elsewhere."""

    def __init__(self, *, every_seconds: float = 10.0) -> None:
        """Write to standard error, plain lines at most once in ``every_seconds``."""
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._every = every_seconds
        self._bar: Any = None
        self._what = ""
        self._last = self._began = 0.0
        self._first = 0

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, what: str, done: int, total: int, *, note: str = "") -> None:
        """See :class:`nnstudent.progress.Progress`."""
        what = SHOWN.get(what, what)
        if self._terminal:
            self._draw(what, done=done, total=total, note=note)
            return
        now = time.monotonic()
        new = what != self._what
        if new:  # what an earlier call has done says nothing of the speed
            self._what, self._began, self._first = what, now, done
        if new or done >= total or now - self._last >= self._waits(now):
            self._last = now
            parts = [f"{what}: {done}/{total}"]
            if self._first < done < total and now - self._began >= self._every:
                left = (now - self._began) * (total - done) / (done - self._first)
                parts.append(f"{duration(left)} left")
            parts.append(note)
            print(", ".join(part for part in parts if part), file=sys.stderr, flush=True)

    def _waits(self, now: float) -> float:
        """Return the seconds between two lines: more as hours go by."""
        return max(self._every, (now - self._began) / 30)

    def _draw(self, what: str, *, done: int, total: int, note: str) -> None:
        from tqdm import tqdm  # needed on a terminal only

        if self._bar is None or what != self._what:
            self.close()
            self._what = what
            # What an earlier call has done counts as done, but not for the speed.
            self._bar = tqdm(
                total=total,
                desc=what,
                initial=done,
                file=sys.stderr,
                leave=True,
                dynamic_ncols=True,
            )
        self._bar.total = total
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self.close()

    def close(self) -> None:
        """End the bar's line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def write_report(
    path: Path | None, body: Mapping[str, Any], *, command: Sequence[str] | None = None
) -> None:
    """Write the JSON file of ``--report``.

    Args:
        path: The file; None to write nothing.
        body: What the verb adds to ``schema``, ``version`` and ``command``.
        command: The command line; None for that of this process.
    """
    if path is not None:
        write_json(path, _readable({**report_head(command), **body}))


def report_head(command: Sequence[str] | None = None) -> dict[str, Any]:
    """Return what every report begins with; its keys are in ``nnstudent/schemas``."""
    return {
        "schema": REPORT_SCHEMA,
        "version": nnstudent.__version__,
        "command": list(command) if command is not None else ["nnstudent", *sys.argv[1:]],
    }


def json_text(body: Mapping[str, Any]) -> str:
    """Return plain data as JSON that any program can read."""
    return json.dumps(_readable(body), indent=1, ensure_ascii=False) + "\n"


def _readable(data: Any) -> Any:
    """Make every text in plain data readable: other programs refuse lone surrogates."""
    if isinstance(data, str):
        return readable(data)
    if isinstance(data, Mapping):
        return {_readable(key): _readable(value) for key, value in data.items()}
    return [_readable(item) for item in data] if isinstance(data, list | tuple) else data


def print_failures(verb: str, failures: Sequence[Failure], *, done: int) -> int:
    """Print each failed case on a line of standard error and return the exit code.

    Args:
        verb: The verb that prints.
        failures: The cases that failed.
        done: How many cases did not fail.

    Returns:
        0 if none failed; 1 if some failed; 2 if all failed, because then the input is wrong.
    """
    for failure in failures:
        print(f"nnstudent {verb}: failed: {failure.case}: {failure.reason}", file=sys.stderr)
    return 0 if not failures else 1 if done else 2


def failed_rows(failures: Iterable[Failure]) -> list[dict[str, str]]:
    """Return the failures as rows of a report."""
    return [{"id": failure.case, "reason": failure.reason} for failure in failures]


def positive(text: str) -> int:
    """Parse a whole number of at least 1; a ``type`` of arguments."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}; expected a whole number of at least 1")
    return int(text)


def names(text: str) -> tuple[str, ...]:
    """Parse names separated by commas; a ``type`` of arguments."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def complete_with(
    action: argparse.Action, words: Callable[[], Iterable[str]] | Iterable[str]
) -> None:
    """Let a shell complete a list of words separated by commas; see the verb ``completion``.

    Args:
        action: The argument.
        words: The words that it takes, or a function that returns them.
    """
    from nnstudent.cli.completion import listed

    action.completer = listed(words)  # type: ignore[attr-defined]  # what argcomplete looks for


def add_classes(parser: Options, option: str, *, help: str) -> None:
    """Add an option that takes class names, which every verb understands alike."""
    action = parser.add_argument(option, type=names, metavar="A,B", help=help)
    complete_with(action, _class_names)


def _class_names() -> tuple[str, ...]:
    from nnstudent.taxonomy import flare23

    return flare23().names


def add_advanced(parser: argparse.ArgumentParser) -> Options:
    """Add the group of the options that most people never need; ``--help`` shows it last."""
    return parser.add_argument_group("advanced")


def add_output(parser: Options, *, metavar: str, help: str, required: bool = True) -> None:
    """Add ``-o``, ``--output``, spelled alike in every verb."""
    parser.add_argument(
        "-o", "--output", dest="out", type=Path, required=required, metavar=metavar, help=help
    )


def add_threads(parser: Options, *, help: str = "processor threads (default: all)") -> None:
    """Add ``--threads``, which means the same in every verb."""
    parser.add_argument("--threads", type=positive, metavar="N", help=help)


def add_device(
    parser: Options, *, default: str, why: str, choices: Sequence[str] = TRAINING_DEVICES
) -> None:
    """Add ``--device``, which means the same in every verb but for its default and its reason.

    Args:
        parser: The parser.
        default: The default.
        why: Why it is the default.
        choices: The devices; verbs that train run on fewer.
    """
    intel = "; gpu and npu are Intel's, by openvino" if "npu" in choices else ""
    parser.add_argument(
        "--device",
        choices=choices,
        default=default,
        help="processor or GPU; auto takes cuda if torch finds a GPU, otherwise cpu"
        f"{intel} (default: {default}, because {why})",
    )


def add_engine(parser: Options) -> None:
    """Add ``--engine``, which means the same in every verb that runs a network."""
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="library that runs the network; auto takes torch on a GPU, otherwise openvino "
        "(default: auto)",
    )


def add_preset(parser: Options) -> None:
    """Add ``--preset``, which means the same in every verb that trains."""
    action = parser.add_argument(
        "--preset",
        default="laptop",
        metavar="P",
        help=f"{', '.join(preset_names())}, or a TOML file (default: laptop)",
    )

    def known(prefix: str = "", **_: Any) -> list[str]:
        start = Path(f"{prefix}*.toml")
        return [*preset_names(), *map(str, start.parent.glob(start.name))]

    action.completer = known  # type: ignore[attr-defined]  # what argcomplete looks for


def add_part(parser: Options, *, help: str) -> None:
    """Add ``--part``, which means the same in every verb that can be shared by machines."""
    parser.add_argument("--part", type=parse_part, default=WHOLE, metavar="I/N", help=help)


def add_merge(parser: Options, *, help: str) -> None:
    """Add ``--merge``, which puts together what calls with ``--part`` have made."""
    parser.add_argument("--merge", type=positive, metavar="N", help=help)


def add_taxonomy(parser: Options, *, default: str) -> None:
    """Add ``--taxonomy``, which means the same in every verb but for its default."""
    parser.add_argument(
        "--taxonomy",
        metavar="TABLE",
        help=f"label table: flare23 or a TOML file (default: {default})",
    )


def add_trust_pickle(parser: Options) -> None:
    """Add ``--trust-pickle``, which means the same in every verb that reads a checkpoint."""
    parser.add_argument(
        "--trust-pickle",
        action="store_true",
        help="also load checkpoints that hold more than tensors; they can run any code, so "
        "use it only for models that you trust",
    )


def model(text: str) -> Path | None:
    """Find the folder of a model by path or name; a ``type`` of arguments.

    ``bundled`` is None, the student that comes with the package.

    Raises:
        InputError: It looks like a name, and no model in the store has it.
    """
    from nnstudent.bundle.store import find_model

    return find_model(text)


def add_model(parser: Options) -> None:
    """Add ``--model``, which means the same in every verb that runs one."""
    parser.add_argument(
        "--model",
        type=model,
        help="a bundle, an nnU-Net model folder, or a name from nnstudent model list "
        "(default: the bundled student)",
    )


def add_report(parser: Options, *, help: str) -> None:
    """Add ``--report``, spelled alike in every verb that makes results."""
    parser.add_argument("--report", type=Path, metavar="FILE.json", help=help)


def import_nibabel() -> None:
    """Import nibabel without pydicom, which takes a third of a second.

    nibabel uses it for DICOM headers inside NIfTI files only, which no code here reads. pydicom
    itself stays importable. Only the command does this, not whoever imports the package.
    """
    if {"nibabel", "pydicom"} & sys.modules.keys():
        return
    sys.modules["pydicom"] = None  # type: ignore[assignment]  # None makes its import fail
    try:
        import nibabel  # noqa: F401  # for modules that import it later
    finally:
        del sys.modules["pydicom"]
