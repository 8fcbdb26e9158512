"""The picture that `segment --preview` draws, for each test case of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnstudent.errors import NnStudentError
from nnstudent.inference.picture.sheet import draw_sheet
from nnstudent.io.nifti import read_image, read_labels
from nnstudent.report.context import rank_cases
from nnstudent.report.format import percent
from nnstudent.report.load import Method, RunData
from nnstudent.report.overlays import find_case, prediction_file
from nnstudent.report.slices import jpeg

_MOST = 12  # cases; each adds about 200 KB
_QUALITY = 80


@dataclass(frozen=True)
class Preview:
    """A case in one picture.

    Attributes:
        id: The case.
        dsc: Mean DSC of its organs, in percent, as text.
        picture: A JPEG file.
    """

    id: str
    dsc: str
    picture: bytes


def make_previews(run: RunData, *, most: int = _MOST) -> list[Preview]:
    """Draw what the student found in each test case, or in some from the best to the worst.

    A case that cannot be drawn is named in ``run.problems``.

    Args:
        run: The run.
        most: How many cases; of more, some are taken at even steps of their rank.
    """
    method = run.method("student") or (run.methods[-1] if run.methods else None)
    if method is None or run.cohort is None:
        return []
    cases = rank_cases(method, run.taxonomy)
    places = np.linspace(0, len(cases) - 1, min(len(cases), most)).round().astype(int)
    previews = []
    for place in places:
        case = cases[place]
        try:
            previews.append(_preview(run, method, case))
        except (NnStudentError, OSError, MemoryError) as error:
            line = f"no picture of {case['id']}: {error}"
            if line not in run.problems:
                run.problems.append(line)
    return previews


def _preview(run: RunData, method: Method, case: Mapping[str, Any]) -> Preview:
    image = read_image(find_case(run, case).image)
    labels = read_labels(prediction_file(run, method, case))
    image.grid.require(labels.grid, what="the prediction", advice="evaluate the run again")
    dsc = percent(method.case_mean(case, "dsc", names=run.taxonomy.organs))
    title = f"{case['id']}: prediction, organ DSC {dsc} %"
    sheet = draw_sheet(image, labels, run.taxonomy, title=title)
    return Preview(str(case["id"]), dsc, jpeg(sheet, quality=_QUALITY))
