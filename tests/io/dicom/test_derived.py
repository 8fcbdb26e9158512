"""Sources that are not as the standard has them: what is made of them is, and says whose it is."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.io.dicom.derived import Algorithm, File, read_origin
from nnstudent.io.dicom.rtstruct import write_rtstruct
from nnstudent.io.dicom.seg import check_seg, write_seg
from nnstudent.io.dicom.series import read_series
from nnstudent.taxonomy import flare23
from nnstudent.volume import Volume

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
hd = pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")
from pydicom.dataelem import RawDataElement  # noqa: E402
from pydicom.tag import Tag  # noqa: E402

from tests.io.series import SPACING, Series  # noqa: E402

ALGORITHM = Algorithm("nnStudent test", "1.2.3", "0123456789abcdef")
UIDS = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "SOPClassUID",
    "SOPInstanceUID",
)


def raw(header, keyword, value: bytes, vr: str | None = None):
    """Put bytes into an element, whatever they mean."""
    tag = Tag(keyword)
    vr = vr or pydicom.datadict.dictionary_VR(tag)
    value += b"\0" * (len(value) % 2)
    header[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def made_of(tmp_path, change, *, name=None, algorithm=ALGORITHM, new_uids=False):
    """The series with a change in each header, its labels, and both objects as they are read back.

    ``name`` is the patient's as bytes, put into the files themselves: pydicom would encode it anew.
    """
    source = Series()
    for k, header in enumerate(source.slices):
        change(header, k)
        if name is not None:
            name += b" " * (len(name) % 2)
            header.PatientName = "~" * len(name)
    folder = source.write(tmp_path / "s")
    for path in folder.iterdir() if name is not None else ():
        path.write_bytes(path.read_bytes().replace(b"~" * len(name), name))
    series = read_series(folder)
    table = flare23()
    labels = Volume(np.zeros(series.volume.grid.shape, np.uint8), series.volume.grid)
    labels.array[1:4, 2:4, 3:6] = 1
    origin = read_origin(series, new_uids=new_uids)
    write_seg(tmp_path / "l.seg.dcm", labels, series, table, algorithm=algorithm, origin=origin)
    write_rtstruct(tmp_path / "l.rt.dcm", labels, series, table, algorithm=algorithm, origin=origin)
    seg = hd.seg.segread(tmp_path / "l.seg.dcm")
    found = seg.get_volume(combine_segments=True)
    k, j, i = np.nonzero(found.array)
    places = (np.stack([k, j, i, np.ones_like(k)], axis=-1) @ found.affine.T)[:, :3]
    k, j, i = np.nonzero(labels.array)
    expected = np.stack([i, j, k, np.ones_like(k)], axis=-1) @ source.affine.T[:, :3]
    assert np.allclose(sorted(map(tuple, places)), sorted(map(tuple, expected)), atol=1e-3)
    return source, origin, (seg, pydicom.dcmread(tmp_path / "l.rt.dcm"))


@pytest.mark.parametrize(
    "value",
    [None, "absent", b"", b"0", b"-5", b"abc", b"nan", b"inf", b"5\\5", b"1e400", b"9" * 40],
)
def test_without_a_slice_thickness_it_is_the_distance_between_slices(tmp_path, value):
    def change(header, k):
        if value == "absent":
            del header.SliceThickness
        elif value is None:
            header.SliceThickness = None
        else:
            raw(header, "SliceThickness", value)

    _, _, (seg, _) = made_of(tmp_path, change)
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SliceThickness == SPACING[2]
    assert list(measures.PixelSpacing) == list(SPACING[:2])


def test_a_slice_thickness_of_its_own_is_kept(tmp_path):
    _, _, (seg, _) = made_of(tmp_path, lambda header, _: raw(header, "SliceThickness", b"5.00 "))
    assert seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 5


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
def test_a_misspelled_character_set_is_put_right(tmp_path, spelled, encoding, term):
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


def test_what_pydicom_cannot_write_in_the_sources_character_set_becomes_utf_8(tmp_path):
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


ODD = [
    ("PatientName", b"A" * 200, None),
    ("PatientName", b"a=b=c=d=e", None),
    ("PatientName", b"a\\b", None),
    ("PatientName", b"\x01\x00", "US"),
    ("PatientID", b"9" * 300, None),
    ("PatientID", b"1\\2\\3", None),
    ("PatientID", b"\x01\x00", "US"),
    ("PatientBirthDate", b"1961.02.03", None),
    ("PatientBirthDate", b"03/02/1961", None),
    ("PatientSex", b"female", None),
    ("PatientSex", b"m", None),
    ("StudyDate", b"2026-01-02", None),
    ("StudyDate", b"20261332", None),
    ("StudyDate", b"\x00\x00\x80\x3f", "FL"),
    ("StudyTime", b"10:11:12", None),
    ("StudyTime", b"midnight", None),
    ("StudyTime", b"101112.1234567890", None),
    ("AccessionNumber", b"A" * 64, None),
    ("AccessionNumber", "é".encode() * 20, None),
    ("StudyID", b"S" * 64, None),
    ("SeriesNumber", b"three", None),
    ("SeriesNumber", b"1\\2", None),
    ("SeriesNumber", b"99999999999", None),
    ("SeriesNumber", b"-4", None),
    ("SeriesNumber", b"3.7", None),
    ("ReferringPhysicianName", b"\xff\xfe\xfd", None),
    ("PositionReferenceIndicator", b"x" * 100, None),
    ("LossyImageCompression", b"maybe", None),
    ("LossyImageCompressionRatio", b"ten", None),
    ("SpacingBetweenSlices", b"-2.5", None),
    ("SpacingBetweenSlices", b"wide", None),
    ("AcquisitionNumber", b"one", None),
    ("KVP", b"high", None),
    ("PatientPosition", b"upside down, more or less", None),
    ("BurnedInAnnotation", b"\x01\x00", "US"),
]


@pytest.mark.parametrize(
    "keyword", sorted({keyword for keyword, _, _ in ODD} - {"SpacingBetweenSlices"})
)
def test_without_what_a_series_may_lack(tmp_path, keyword):
    def change(header, k):
        if keyword in header:
            del header[keyword]

    _, origin, made = made_of(tmp_path, change)
    assert not origin.warnings
    for dataset in made:
        for needed in (
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
            "StudyDate",
            "StudyTime",
            "AccessionNumber",
            "StudyID",
        ):
            assert needed in dataset


@pytest.mark.parametrize(("keyword", "value", "vr"), ODD)
def test_odd_values_spoil_nothing(tmp_path, keyword, value, vr):
    _, origin, made = made_of(tmp_path, lambda header, _: raw(header, keyword, value, vr))
    for dataset in made:
        assert dataset.SeriesNumber > 0
        for date in ("PatientBirthDate", "StudyDate"):
            assert re.fullmatch(r"(\d{8})?", dataset[date].value or "")
        assert re.fullmatch(r"(\d{6}(\.\d+)?)?", dataset["StudyTime"].value or "")
        assert dataset.PatientSex in ("M", "F", "O", "")
    if value in (b"1961.02.03", b"2026-01-02", b"10:11:12", b"m"):
        wanted = {
            "PatientBirthDate": "19610203",
            "StudyDate": "20260102",
            "StudyTime": "101112",
            "PatientSex": "M",
        }[keyword]
        assert [dataset[keyword].value for dataset in made] == [wanted, wanted]
        assert not origin.warnings
    if value in (b"03/02/1961", b"female", b"20261332", b"midnight"):
        assert origin.warnings == (f"{keyword} of the series is malformed; it was left empty",)
    if keyword == "PatientID" and vr is None:  # never cut: it would be another patient's
        assert all(
            str(dataset[keyword].value).replace("['", "").startswith(value.decode()[0])
            for dataset in made
        )


def test_a_value_of_another_type_is_left_empty_with_a_warning(tmp_path):
    def change(header, k):
        del header.PatientID
        header.add_new("PatientID", "SQ", [pydicom.Dataset()])

    _, origin, made = made_of(tmp_path, change)
    assert origin.warnings == ("PatientID of the series is no text; it was left empty",)
    assert [dataset.PatientID for dataset in made] == ["", ""]


def lacking(*keywords, only=None):
    def change(header, k):
        for keyword in keywords:
            if only is None or k == only:
                del header[keyword]

    return change


def test_all_uids_that_are_missing_are_named_together(tmp_path):
    def change(header, k):
        lacking("StudyInstanceUID", "FrameOfReferenceUID")(header, k)
        raw(header, "SeriesInstanceUID", b"not a UID")

    with pytest.raises(InputError) as caught:
        made_of(tmp_path, change)
    text = str(caught.value)
    assert (
        "StudyInstanceUID is missing, SeriesInstanceUID is malformed, FrameOfReferenceUID is missing"
        in text
    )
    assert "--new-uids" in text
    assert "\n" not in text
    assert "not a UID" not in text


@pytest.mark.parametrize("keyword", UIDS)
@pytest.mark.parametrize(
    "value", [None, b"", b"1.2.x", b"1." * 40 + b"1", b"1..2", b"12", b"1.2\\1.3"]
)
def test_new_uids_are_valid_and_the_same_for_the_same_series(tmp_path, keyword, value):
    def change(header, k):
        if keyword == "SOPInstanceUID":
            header.file_meta = pydicom.dataset.FileMetaDataset()
        if value is None:
            del header[keyword]
        else:
            raw(header, keyword, value + (b"x%d" % k if keyword == "SOPInstanceUID" else b""))

    if keyword not in ("SOPClassUID", "SOPInstanceUID"):
        with pytest.raises(InputError, match=rf"{keyword} is (missing|malformed).*--new-uids"):
            made_of(tmp_path, change)
        shutil.rmtree(tmp_path / "s")
    source = Series()
    for k, header in enumerate(source.slices):
        change(header, k)
    series = read_series(_write(source, tmp_path / "s"))
    first = read_origin(series, new_uids=True)
    shutil.move(tmp_path / "s", tmp_path / "elsewhere")
    again = read_origin(read_series(tmp_path / "elsewhere"), new_uids=True)
    for one, other in ((first, again),):
        assert (one.study, one.series, one.frame_of_reference) == (
            other.study,
            other.series,
            other.frame_of_reference,
        )
        assert [(file.sop_class, file.uid) for file in one.files.values()] == [
            (file.sop_class, file.uid) for file in other.files.values()
        ]
    uids = [
        first.study,
        first.series,
        first.frame_of_reference,
        *(file.uid for file in first.files.values()),
    ]
    assert len(set(uids)) == 3 + len(source.slices)
    assert all(pydicom.uid.UID(uid).is_valid for uid in uids)
    assert f"{keyword} is" in " ".join(first.warnings)
    assert first.study == source.study or keyword == "StudyInstanceUID"
    assert first.series == source.uid or keyword == "SeriesInstanceUID"


def _write(source, folder):
    """Without the file's own head saying what the data set does not."""
    folder.mkdir()
    for k, header in enumerate(source.slices):
        header.file_meta = pydicom.dataset.FileMetaDataset()
        header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        header.preamble = bytes(128)
        pydicom.dcmwrite(folder / f"{k}.dcm", header, enforce_file_format=False)
    return folder


def test_other_content_has_other_uids(tmp_path):
    seen = set()
    for k in range(2):
        source = Series(stored=np.full((5, 6, 8), 900 + k))
        for header in source.slices:
            header.StudyInstanceUID = header.SeriesInstanceUID = "1.2.3"
            del header.FrameOfReferenceUID
        seen.add(
            read_origin(
                read_series(source.write(tmp_path / f"{k}")), new_uids=True
            ).frame_of_reference
        )
    assert len(seen) == 2


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "FrameOfReferenceUID", "PatientID"])
@pytest.mark.parametrize("new_uids", [False, True])
def test_files_that_contradict_each_other_are_refused(tmp_path, keyword, new_uids):
    source = Series()
    series = read_series(source.write(tmp_path / "s"))
    for k, header in enumerate(source.slices):  # the reader would refuse them, too
        setattr(header, keyword, f"1.2.3.{k % 2}")
    source.write(tmp_path / "s")
    with pytest.raises(InputError, match=f"{keyword} differs between the files of the series"):
        read_origin(series, new_uids=new_uids)


def test_a_sop_class_that_no_library_knows_is_referred_to(tmp_path):
    _, _, (seg, structures) = made_of(
        tmp_path, lambda header, _: setattr(header, "SOPClassUID", "1.2.826.0.1.3680043.10.1.1")
    )
    classes = set(re.findall(r"Referenced SOP Class UID +UI: (\S+)", str(seg)))
    assert classes == {"1.2.826.0.1.3680043.10.1.1"}
    assert "1.2.826.0.1.3680043.10.1.1" in str(structures)


def test_what_was_compressed_with_loss_says_so(tmp_path):
    _, _, (seg, _) = made_of(
        tmp_path, lambda header, _: setattr(header, "LossyImageCompression", "01")
    )
    assert seg.LossyImageCompression == "01"


def test_several_files_of_several_frames_are_no_dicom_seg(tmp_path):
    series = read_series(Series().write(tmp_path / "s"))
    origin = read_origin(series)
    check_seg(series, origin)
    framed = {
        path: File(file.sop_class, file.uid, ((0.0, 0.0, 0.0),))
        for path, file in origin.files.items()
    }
    with pytest.raises(InputError, match="5 files, some of several frames"):
        check_seg(series, replace(origin, files=framed))
