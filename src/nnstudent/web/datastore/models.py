"""The students that a service has trained, which of them it uses, and the way back."""

from __future__ import annotations

import logging
import shutil
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from nnstudent.bundle.bundle import Model, open_model
from nnstudent.data_files import read_json_table
from nnstudent.errors import InputError, NnStudentError
from nnstudent.io.atomic import make_folder, write_json
from nnstudent.web.datastore.scans import ConflictError

log = logging.getLogger(__name__)

_STATE = "models.json"
_KEPT = 5  # students that were used before and can be gone back to


@dataclass
class _State:
    """What the file says.

    Attributes:
        base: Hash of the model that the service was started with.
        used: Numbers of the students in the order in which they came into use.
        last: Number of the student that was trained last.
        results: What each training came to, by number.
    """

    base: str = ""
    used: list[int] = field(default_factory=list)
    last: int = 0
    results: dict[int, dict[str, Any]] = field(default_factory=dict)


class Models:
    """A folder of students. Every method may be called from any thread.

    Attributes:
        base: The model that the service was started with.
    """

    def __init__(self, folder: Path, base: Model) -> None:
        """Use a folder; students that were trained from another model are not used.

        Raises:
            OutputError: The folder cannot be created.
        """
        self._folder = folder
        self.base = base
        self._lock = threading.RLock()
        make_folder(folder)
        self._state = self._read()
        if self._state.base != base.hash:
            self._state = _State(base=base.hash, last=self._state.last)

    @property
    def number(self) -> int:
        """Number of the student in use; 0 for the model that the service was started with."""
        return self._state.used[-1] if self._state.used else 0

    def current(self) -> Model:
        """Open the model in use; a damaged student is passed over, with a line in the log."""
        with self._lock:
            while self._state.used:
                try:
                    return open_model(self.bundle(self.number))
                except NnStudentError as error:
                    log.warning("student %d is not used: %s", self.number, error)
                    self._state.used.pop()
            return self.base

    def bundle(self, number: int) -> Path:
        """Return the folder of a student."""
        return self._folder / f"{number:04d}" / "bundle"

    def new(self) -> tuple[int, Path]:
        """Return number and folder for another student."""
        with self._lock:
            self._state.last += 1
            self._write()
            return self._state.last, self._folder / f"{self._state.last:04d}"

    def record(self, number: int, result: dict[str, Any]) -> None:
        """Record what a training came to."""
        with self._lock:
            self._state.results[number] = result
            self._write()

    def tidy(self, number: int) -> None:
        """Delete what a training left: everything, or all but the bundle of a student in use."""
        folder = self.bundle(number).parent
        if number not in self._state.used:
            shutil.rmtree(folder, ignore_errors=True)
            return
        for path in folder.iterdir():
            if path.name != "bundle":
                shutil.rmtree(path, ignore_errors=True)

    def results(self) -> dict[int, dict[str, Any]]:
        """Return what each training came to."""
        return dict(self._state.results)

    def use(self, number: int) -> Model:
        """Use a student from now on.

        Raises:
            InputError: It is damaged.
        """
        with self._lock:
            model = open_model(self.bundle(number))
            self._state.used.append(number)
            for old in self._state.used[: -1 - _KEPT]:
                shutil.rmtree(self.bundle(old).parent, ignore_errors=True)
            self._state.used = self._state.used[-1 - _KEPT :]
            self._write()
            return model

    def go_back(self) -> Model:
        """Use again what was used before.

        Raises:
            ConflictError: The model that the service was started with is in use.
        """
        with self._lock:
            if not self._state.used:
                raise ConflictError("no student has replaced the model; there is no way back")
            self._state.used.pop()
            self._write()
            return self.current()

    def _read(self) -> _State:
        path = self._folder / _STATE
        if not path.is_file():
            return _State()
        try:
            fields = read_json_table(path, what="a list of students")
            return TypeAdapter(_State).validate_python(fields)
        except (InputError, ValidationError):
            log.warning("%s is damaged; the service begins with the model that it is given", _STATE)
            return _State(last=max((int(p.name) for p in self._folder.glob("[0-9]*")), default=0))

    def _write(self) -> None:
        write_json(self._folder / _STATE, asdict(self._state))
