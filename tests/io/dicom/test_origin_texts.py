"""Names and character sets of objects are those of their source."""

from __future__ import annotations

import pytest

from nnstudent.io.dicom.derived import Algorithm

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
hd = pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")

from tests.io.dicom.changed import made_of, raw  # noqa: E402

NAMES = [
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (["ISO 2022 IR 6", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    (["", "ISO 2022 IR 87", "ISO 2022 IR 159"], "Yamada^Tarou=山田^太郎"),
    ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ("GB18030", "Wang^XiaoDong=王^小东"),
    ("GBK", "Wang^XiaoDong=王^小东"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小東=Müller"),
    ("ISO_IR 100", "Müller^Jürgen"),
    ("ISO_IR 101", "Wałęsa^Lech"),
    ("ISO_IR 144", "Люкceмбypг"),
    ("ISO_IR 126", "Διονυσιος"),
    ("ISO_IR 138", "שרון^דבורה"),
    ("ISO_IR 127", "قباني^لنزار"),
    ("ISO_IR 166", "นามสกุล^ชื่อ"),
    (["ISO 2022 IR 100", "ISO 2022 IR 144"], "Müller^Jürgen=Люкceмбypг"),
]


@pytest.mark.parametrize(("terms", "name"), NAMES)
def test_name_and_character_set_are_those_of_the_source(tmp_path, terms, name):
    def change(header, k):
        header.SpecificCharacterSet, header.PatientName, header.ReferringPhysicianName = (
            terms,
            name,
            name,
        )

    source, origin, made = made_of(tmp_path, change)
    for dataset in made:
        assert dataset.PatientName == dataset.ReferringPhysicianName == name
        wanted = terms if isinstance(terms, list) else [terms]
        have = dataset.SpecificCharacterSet
        assert [have] if isinstance(have, str) else list(have) == wanted
        assert dataset.get_item("PatientName").VR == "PN"
        assert dataset.PatientID == source.slices[0].PatientID
    assert not origin.warnings


@pytest.mark.parametrize(
    ("spelled", "encoding", "term"),
    [
        ("ISO-IR 192", "utf-8", "ISO_IR 192"),
        ("ISO_IR192", "utf-8", "ISO_IR 192"),
        ("ISO IR 192", "utf-8", "ISO_IR 192"),
        ("iso_ir 192", "utf-8", "ISO_IR 192"),
        ("UTF-8", "utf-8", "ISO_IR 192"),
        ("utf8", "utf-8", "ISO_IR 192"),
        ("ISO-IR 100", "latin-1", "ISO_IR 100"),
        ("ISO-8859-1", "latin-1", "ISO_IR 100"),
        ("ISO_2022_IR_100", "latin-1", "ISO 2022 IR 100"),
    ],
)
def test_a_misspelled_character_set_is_corrected(tmp_path, spelled, encoding, term):
    _, origin, made = made_of(
        tmp_path,
        lambda header, _: raw(header, "SpecificCharacterSet", spelled.encode()),
        name="Müller".encode(encoding),
    )
    for dataset in made:
        assert dataset.PatientName == "Müller"
        assert dataset.SpecificCharacterSet == term
    assert not origin.warnings


@pytest.mark.parametrize(
    ("declared", "encoding", "said"),
    [
        (b"KLINGON", "utf-8", "unknown character set"),
        (b"KLINGON", "latin-1", "unknown character set"),
        (b"ISO_IR 999", "utf-8", "unknown character set"),
        (b"ISO_IR 192", "latin-1", "outside the character set that it declares"),
        (b"\\KLINGON", "latin-1", "declares no character set"),
        (None, "latin-1", "declares no character set"),
        (b"", "latin-1", "declares no character set"),
        (b"ISO_IR 6", "latin-1", "declares no character set"),
    ],
)
def test_a_character_set_that_is_not_that_of_the_names_is_a_warning(
    tmp_path, declared, encoding, said
):
    def change(header, k):
        del header.SpecificCharacterSet
        if declared is not None:
            raw(header, "SpecificCharacterSet", declared)

    _, origin, made = made_of(tmp_path, change, name="Müller".encode(encoding))
    assert said in " ".join(origin.warnings)
    assert "ller" not in " ".join(origin.warnings)
    for dataset in made:
        assert dataset.PatientName == "Müller"


@pytest.mark.parametrize(
    "declared", [b"KLINGON", b"ISO_IR 999", b"\\\\\\", b"ISO 2022 IR", b"\xff\xfe"]
)
def test_an_unknown_character_set_that_nothing_needs_is_left_out(tmp_path, declared):
    _, origin, made = made_of(
        tmp_path, lambda header, _: raw(header, "SpecificCharacterSet", declared)
    )
    assert not origin.warnings
    for dataset in made:
        assert "SpecificCharacterSet" not in dataset
        assert dataset.PatientID == "PID-4711"


def test_texts_that_pydicom_cannot_write_in_the_sources_character_set_become_utf_8(tmp_path):
    """The standard's own example, part 5, annex K."""

    def change(header, k):
        header.SpecificCharacterSet = ["", "ISO 2022 IR 58"]

    _, origin, made = made_of(
        tmp_path, change, name=b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="
    )
    for dataset in made:
        assert str(dataset.PatientName).rstrip("=") == "Zhang^XiaoDong=张^小东"
        assert dataset.SpecificCharacterSet == "ISO_IR 192"
    assert not origin.warnings


def test_a_model_named_outside_the_sources_characters_makes_it_utf_8(tmp_path):
    def change(header, k):
        header.SpecificCharacterSet, header.PatientName = "ISO_IR 100", "Müller"

    _, _, (seg, structures) = made_of(
        tmp_path, change, algorithm=Algorithm("nnStudent 肝臓", "1", "x")
    )
    for dataset in (seg, structures):
        assert dataset.SpecificCharacterSet == "ISO_IR 192"
        assert dataset.PatientName == "Müller"
        assert dataset.ManufacturerModelName == "nnStudent 肝臓"
