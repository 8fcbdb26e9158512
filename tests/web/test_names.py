"""Names of uploads, as they are shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nnstudent.io.archive import is_clutter
from nnstudent.web.names import disk_suffix, display_name


@given(st.text(max_size=300))
def test_a_name_to_show_is_short_plain_text(name):
    shown = display_name(name)
    assert 1 <= len(shown) <= 80
    assert shown == " ".join(shown.split())
    assert not set(shown) & set("/\\\0\n\r")
    assert shown[0] not in "=+-@."
    assert disk_suffix(name) in (".nii.gz", ".nii", ".mgz", ".mgh", ".zip", ".dcm")


def test_names():
    assert display_name("a/b/CT 1.nii.gz") == "CT 1"
    assert display_name("folder/") == "folder"
    assert display_name("=cmd()") == "cmd()"
    assert display_name("\u202eevil\x00\r\nname.dcm") == "evil name"
    assert is_clutter("__MACOSX/a/b.dcm")
    assert not is_clutter("a/b.dcm")
