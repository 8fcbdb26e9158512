from __future__ import annotations

import pytest

from nnstudent.io.terms import category, meaning, type_code
from nnstudent.taxonomy import LabelClass, flare23

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
hd = pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")
nrrd = pytest.importorskip("nrrd", reason="the extra [dicom] is not installed")


def test_the_codes_of_the_label_table_match_their_meanings():
    """Compared with the codes that pydicom takes from the standard, which have no sides."""
    from pydicom.sr._concepts_dict import concepts

    named: dict[str, str] = {}
    for entry in concepts["SCT"].values():
        for code, (words, _) in entry.items():
            named[code] = f"{named.get(code, '')} {words}"
    checked = [item for item in flare23() if item.snomed in named]
    assert len(checked) == 10
    for item in checked:
        words = {"esophagus": "Esophag", "duodenum": "Duoden", "tumor": "Neoplasm"}.get(
            item.name, meaning(item)
        )
        assert words.lower() in named[item.snomed].lower()
        assert type_code(item).value == item.snomed
        assert category(item).value in named
    bare = LabelClass(1, "thing")
    assert type_code(bare) == category(bare) == ("85756007", "SCT", "Tissue")
