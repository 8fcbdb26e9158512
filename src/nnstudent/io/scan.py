"""One scan, whatever holds it: an image file, the files of a DICOM series, or an archive."""

from __future__ import annotations

from pathlib import Path

from nnstudent.io.content import content_of
from nnstudent.io.dicom.series import Series, read_series
from nnstudent.io.nifti import read_image
from nnstudent.io.unpacked import held, is_archive, unpacked
from nnstudent.volume import Volume


def is_series(source: Path) -> bool:
    """Whether a scan is DICOM: a folder, a DICOM file, or an archive that holds such files.

    Raises:
        OSError: The file cannot be read.
    """
    if source.is_dir():
        return True
    if is_archive(source):
        return held(source) == "series"
    return source.is_file() and content_of(source) == "dicom"


def read_scan(
    source: Path, *, series: str | None = None, ask: bool = True
) -> tuple[Volume, Series | None]:
    """Read a scan.

    Args:
        source: An image file, the folder of a DICOM series, one DICOM file of many frames, or a
            ZIP archive of one of them.
        series: Number or UID of the series to take.
        ask: Whether an input with several series is refused, so that a person can name one;
            otherwise a rule chooses.

    Returns:
        The image, and the series with its warnings if it is one. What refers to the files of a
        series has to be made before an archive is closed: unpack it first, with
        :func:`~nnstudent.io.unpacked.unpacked`.

    Raises:
        InputError: The image cannot be used, or there are several series.
        GeometryError: The image's geometry cannot be used.
        MissingExtraError: The extra that reads DICOM is not installed.
    """
    with unpacked(source) as place:
        if not is_series(place):
            return read_image(place), None
        read = read_series(place, series=series, ask=ask)
        return read.volume, read
