from __future__ import annotations

from pathlib import Path

from bench.house import measure

SHORT = '''
def short():
    """Two lines

    of docstring."""
    return 1
'''


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_small_tree_is_counted(tmp_path: Path) -> None:
    package, tests = tmp_path / "src" / "nnstudent", tmp_path / "tests"
    write(package / "__init__.py", "")
    write(package / "io" / "nifti.py", SHORT)
    long = "class Long:\n    def run(self):\n" + "        pass\n" * 61
    write(package / "io" / "nrrd.py", long)
    write(tests / "io" / "test_nifti_grid.py", "")
    found = measure(tmp_path)
    assert found["files, in folders"] == "3, 2"
    assert found["largest folders"] == "io 2, . 1"
    assert found["longest function"] == "62 (io/nrrd: run); 1 over 60"
    assert found["longest class"] == "63 (io/nrrd: Long); 0 over 250"
    assert found["longest file"] == "63 (io/nrrd); 0 over 400"
    assert found["modules without tests at the mirrored path"] == "1 of 2"
