"""Grand Challenge's entry point: a CT becomes a label map on its grid.

images/ct/NAME.mha is read, and the label map has the same name.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnstudent.bundle.bundle import open_model
from nnstudent.errors import InputError, NnStudentError
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.atomic import replacing
from nnstudent.volume import Grid, Volume

INPUT, OUTPUT = (
    Path(os.environ.get("INPUT", "/input")),
    Path(os.environ.get("OUTPUT", "/output")),
)  # elsewhere for a trial
MODEL = Path(os.environ.get("MODEL", Path(__file__).with_name("bundle")))
SOCKET = os.environ.get(
    "SOCKET", "organ-segmentation"
)  # the output's slug, as the algorithm's page has it


def main() -> int:
    """Segment the job's image; returns the exit code, which is not 0 where it could not be done."""
    try:
        place = INPUT / "images" / "ct"
        images = sorted(place.glob("*.mha"))
        if len(images) != 1:
            raise InputError(
                f"{place}: {len(images)} files that end in .mha; expected one, for a job is one "
                "scan"
            )
        image = read(images[0])
        found = Segmenter(open_model(MODEL), windows="guided")(to_volume(image))
        labels = sitk.GetImageFromArray(found.labels.array)
        labels.CopyInformation(image)
        with replacing(OUTPUT / "images" / SOCKET / images[0].name) as temporary:
            sitk.WriteImage(labels, str(temporary), useCompression=True)
    except NnStudentError as error:
        print(f"nnstudent: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(found.record()))  # standard error would be shown as a fault
    return 0


def read(path: Path) -> sitk.Image:
    """Read a 3D image of one number a voxel.

    Raises:
        InputError: It is none, or cannot be read.
    """
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(
            f"{path}: cannot be read as an image ({reason}); expected a MetaImage"
        ) from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"{path}: {image.GetDimension()}D, {image.GetNumberOfComponentsPerPixel()} values a "
            "voxel; expected a 3D CT in HU"
        )
    return image


def to_volume(image: sitk.Image) -> Volume:
    """Return the image in nnStudent's terms: (z, y, x), with an affine to RAS+.

    ITK's world is LPS+.
    """
    array = sitk.GetArrayFromImage(image)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return Volume(array, Grid(array.shape, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine))


if __name__ == "__main__":
    sys.exit(main())
