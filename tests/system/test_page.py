"""The page of `nnstudent serve` as a person has it: scans go in from a browser, are watched and
looked at."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import nibabel as nib
import numpy as np
import psutil
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from tests.conftest import ROOT
from tests.web.conftest import series_of

PATIENCE = 240_000  # ms; a processor draws slowly, more so where it is busy
pytestmark = pytest.mark.timeout(1500)


@pytest.fixture
def scans(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> Path:
    """A datastore: the middle of a CT, so small that a processor draws it quickly."""
    folder = tmp_path_factory.mktemp("scans")
    (folder / "patient 1").mkdir()
    middle = nib.load(real_data / "ts_example" / "ct.nii.gz").slicer[20:92, 20:90, 60:108]
    nib.save(middle, folder / "patient 1" / "ct.nii.gz")
    return folder


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    """Where the command serves."""
    assert (ROOT / "src/nnstudent/web/page/index.html").is_file(), "make web builds the page"
    work = folder / "work"
    command = [sys.executable, "-m", "nnstudent", "serve", "--port", "0", "--work", str(work)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        text=True,
        cwd=work.parent,
        env=environment,
    )
    try:
        for line in process.stdout:
            if found := re.search(r"http://\S+", line):
                yield found[0]
                break
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service for scans that are uploaded."""
    with serving(tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The open page of that service."""
    with opened(browser, address) as page:
        yield page


@contextmanager
def opened(browser: Browser, address: str) -> Iterator[Page]:
    """An open page; at the end nothing was complained of, and nobody but the service was asked for
    anything."""
    context = browser.new_context(viewport={"width": 1360, "height": 860})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    context.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    expect(page.locator("#model")).to_contain_text("not a medical device")
    yield page
    context.close()
    assert not [
        line for line in said if "status of 400" not in line
    ]  # which a browser says itself of what was refused
    assert asked
    assert not [url for url in asked if not url.startswith((address, "data:", f"blob:{address}"))]


def choose(page: Page, what: str, path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=what).click()
    chooser.value.set_files(path)


def wait_for_result(page: Page) -> float:
    """Until it is drawn; returns the processor's seconds that the browser took for that, so that
    it does not matter how busy the machine is."""
    expect(page.locator(".organs tbody tr").first).to_be_visible(timeout=PATIENCE)
    before = browser_seconds()
    page.wait_for_selector(".screen[data-shown]")
    seconds = browser_seconds() - before
    # In slices, which a processor draws quickest.
    page.get_by_role("button", name="Axial", exact=True).click()
    return seconds


def browser_seconds() -> float:
    """Seconds of the processor that the browser has taken since it was started."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "chrom" in process.name():
                times = process.cpu_times()
                total += times.user + times.system
    return total


def color(place: Locator) -> float:
    """Share of pixels that are not gray."""
    picture = np.asarray(
        Image.open(io.BytesIO(place.screenshot(timeout=PATIENCE))).convert("RGB")
    ).astype(int)
    return float((np.ptp(picture, axis=2) > 25).mean())


def download(page: Page, title: str) -> Path:
    with page.expect_download() as found:
        page.get_by_role("link", name=f"Download {title}", exact=True).click()
    return found.value.path()


def test_a_nifti_is_chosen_watched_looked_at_and_deleted(
    page: Page, real_data: Path, tmp_path: Path
) -> None:
    choose(page, "Choose a file", real_data / "ts_example" / "ct.nii.gz")
    expect(page.locator("#scans li")).to_have_count(1, timeout=PATIENCE)
    assert 0 < wait_for_result(page) < 10, "seconds until there is a picture, without a GPU"

    liver = page.locator("tr[data-organ=liver]")
    assert 900 < float(liver.locator("td.number").first.inner_text()) < 1500
    expect(liver).to_contain_text("touches the border of the image")

    canvas = page.locator(".screen canvas")
    liver.get_by_role("button", name="Liver").click()  # which lays the slice through it
    page.mouse.move(5, 5)
    page.wait_for_timeout(500)
    everything = color(canvas)
    assert everything > 0.01, "labels are drawn"
    liver.get_by_role("checkbox").uncheck()
    page.mouse.move(5, 5)
    page.wait_for_timeout(500)
    assert color(canvas) < 0.8 * everything, "the liver is off"
    everyone = page.get_by_role("checkbox", name="Show all")
    everyone.check()
    expect(liver.get_by_role("checkbox")).to_be_checked()
    everyone.uncheck()
    assert color(canvas) < 0.002, "all are off"
    everyone.check()
    page.get_by_role("button", name="3D", exact=True).click()
    assert color(canvas) > 0.01

    saved = tmp_path / "labels.nii.gz"
    saved.write_bytes(download(page, "NIfTI").read_bytes())
    labels, scan = nib.load(saved), nib.load(real_data / "ts_example" / "ct.nii.gz")
    assert labels.shape == scan.shape
    np.testing.assert_allclose(labels.affine, scan.affine, atol=1e-4)
    rows = list(csv.DictReader(download(page, "CSV").read_text().splitlines()))
    assert len(rows) >= 12
    missing = [row["organ"].replace("_", " ") for row in rows if not float(row["volume_ml"])]
    expect(page.locator(".missing")).to_have_text(
        [f"Not found: {', '.join(missing)}."] if missing else []
    )

    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Really delete?").click()
    expect(page.locator("#scans li")).to_have_count(0, timeout=PATIENCE)


DROP = """async ([files, folder]) => {
    // A folder as the browser hands it over in a drop, which no test tool can make: entries that are read some at a time.
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))
    const entries = files.map(([name, data]) => ({
        isFile: true, fullPath: `/${folder}/${name}`, file: (take) => take(new File([bytes(data)], name)),
    }))
    const parts = [entries.slice(0, 9), entries.slice(9), []]
    const createReader = () => ({ readEntries: (take) => take(parts.shift()) })
    const item = { webkitGetAsEntry: () => ({ isFile: false, fullPath: `/${folder}`, createReader }) }
    const event = new Event('drop', { bubbles: true, cancelable: true })
    event.dataTransfer = { types: ['Files'], items: [item] }
    document.body.dispatchEvent(event)
}"""


def test_a_dicom_folder_is_chosen_and_another_dropped(
    page: Page, real_data: Path, tmp_path: Path
) -> None:
    choose(page, "Choose a folder", real_data / "ts_dicom20" / "series")
    wait_for_result(page)
    expect(page.locator("h1")).to_have_text("CT Body 3.0")  # for its folder is just "series"
    expect(page.locator("tr[data-organ=liver]")).to_be_visible()
    expect(page.locator(".notes")).to_contain_text(
        "derived from the content"
    )  # its UIDs were blanked when it was published

    study = series_of(real_data / "ts_example" / "ct.nii.gz").write(tmp_path / "study")
    page.evaluate(
        DROP,
        [
            [
                (file.name, base64.b64encode(file.read_bytes()).decode())
                for file in sorted(study.iterdir())
            ],
            "dropped",
        ],
    )
    expect(page.locator("h1")).to_have_text("dropped", timeout=PATIENCE)
    expect(page.locator("#scans li")).to_have_count(2)
    page.wait_for_selector("a[aria-label='Download DICOM-SEG']")
    content = download(page, "DICOM-SEG").read_bytes()
    assert content[128:132] == b"DICM"


def test_what_is_no_scan_is_one_plain_line(page: Page, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("not a scan")
    choose(page, "Choose a file", note)
    line = page.locator(".uploads .bad")
    expect(line).to_contain_text("is not DICOM", timeout=PATIENCE)
    line.get_by_role("button").click()
    expect(line).to_have_count(0)


def drag(page: Page, canvas: Locator, start: tuple[int, int], stop: tuple[int, int]) -> None:
    """Drag on the picture, from and to pixels beside its middle."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x + start[0], y + start[1])
    page.mouse.down()
    page.mouse.move(x + stop[0], y + stop[1], steps=4)
    page.mouse.up()


AXE = ROOT / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = """async () => (await axe.run()).violations
    .filter(({ impact }) => ['serious', 'critical'].includes(impact))
    .map(({ id, nodes }) => [id, nodes[0].failureSummary])"""


def test_a_scan_is_looked_at_corrected_and_its_page_is_accessible(
    browser: Browser, scans: Path, tmp_path: Path
) -> None:
    with (
        serving(tmp_path, "--datastore", str(scans)) as address,
        opened(browser, address) as page,
    ):
        look(page)
        click(page, scans)
        correct(page)
        rows = (scans / "corrected" / "ledger.jsonl").read_text().splitlines()
        assert [json.loads(row)["by"] for row in rows] == ["Anna", "Anna"]
        for scheme, width in (("light", 1360), ("dark", 1360), ("light", 390), ("dark", 390)):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # no half-way colors
            page.set_viewport_size({"width": width, "height": 860})
            page.evaluate(AXE.read_text("utf-8"))
            assert page.evaluate(SERIOUS) == [], (scheme, width)


def look(page: Page) -> None:
    page.get_by_role("button", name="Next scan").click()
    wait_for_result(page)
    expect(page.locator("h1")).to_have_text("patient 1")
    expect(page.locator(".facts")).to_contain_text("72 × 70 × 48 voxels of 3 × 3 × 3 mm")
    canvas, place = page.locator(".screen canvas"), page.locator(".nnv-place")

    page.locator("tr[data-organ=liver]").get_by_role("button", name="Liver", exact=True).click()
    canvas.focus()
    before = int(place.inner_text().split(" / ")[0])
    page.keyboard.press("ArrowUp")
    expect(place).to_have_text(f"{before + 1} / 48")
    canvas.hover()
    page.mouse.wheel(0, 100)
    expect(place).to_have_text(f"{before} / 48")
    expect(page.locator(".nnv-probe")).to_contain_text("HU")
    page.keyboard.press("2")
    expect(page.get_by_role("button", name="Liver", exact=True).first).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(page.locator(".nnv-window")).to_have_text("W 160 L 90")
    page.keyboard.press("w")
    drag(page, canvas, (0, 0), (20, 10))
    expect(page.locator(".nnv-window")).to_have_text("W 200 L 110")
    page.keyboard.press("m")
    drag(page, canvas, (0, 0), (60, 0))
    expect(page.locator(".nnv-probe")).to_contain_text("Length")


def click(page: Page, scans: Path) -> None:
    """A click grows the spleen by what looks like it; undo takes that back."""
    spleen = page.get_by_role("button", name="Correct the spleen")
    spleen.click()
    page.get_by_role("button", name="Axial", exact=True).click()
    canvas = page.locator(".screen canvas")
    canvas.focus()
    page.keyboard.press("g")
    grow = page.get_by_role("button", name="Grow", exact=True)
    expect(grow).to_have_attribute("aria-pressed", "true")
    canvas.scroll_into_view_if_needed()
    with page.expect_response("**/api/datastore/click?*") as answer:
        canvas.click()  # in the middle of the picture: the liver, or beside it
    request, found = answer.value.request, answer.value.body()
    assert answer.value.status == 200
    asked = parse_qs(urlsplit(request.url).query)
    shape = tuple(int(size) for size in asked["shape"])
    sent = request.post_data_buffer or b""
    voxels = int(np.prod(shape))
    before = np.frombuffer(sent, np.uint8, offset=2 * voxels).reshape(shape)
    after = np.frombuffer(found, np.uint8).reshape(shape)
    assert after.sum() > (before == 1).sum() + 10, "it grew"
    expect(page.locator(".correct")).not_to_contain_text("Segmenting")

    # The box holds the scan's own densities.
    image = nib.as_closest_canonical(nib.load(next(scans.glob("*/ct.nii.gz"))))
    hu = np.asarray(image.dataobj).T
    box = np.frombuffer(sent, "<i2", count=voxels).reshape(shape)
    start = place_of(box, hu)
    assert tuple(int(at) for at in asked["start"]) == tuple(start), "where the service looks"
    assert answer.value.headers["decided-by"] in ("scores", "image")
    clicked = tuple(int(at) for at in asked["voxel"])
    assert after[clicked] == 1
    assert abs(start[1] + clicked[1] - hu.shape[1] / 2) < hu.shape[1] / 3

    page.keyboard.press("z")
    with page.expect_response("**/api/datastore/click?*") as answer:
        canvas.click()
    sent = answer.value.request.post_data_buffer or b""
    again = np.frombuffer(sent, np.uint8, offset=2 * voxels).reshape(shape)
    assert (again == before).all(), "undo took the first click back"
    page.get_by_role("button", name="Cancel").click()


def place_of(box: np.ndarray, hu: np.ndarray) -> tuple[int, int, int]:
    """Where a box lies in a scan."""
    room = [slice(0, 1 + size - own) for size, own in zip(hu.shape, box.shape, strict=True)]
    for place in np.argwhere(hu[tuple(room)] == box[0, 0, 0]):
        part = tuple(slice(at, at + own) for at, own in zip(place, box.shape, strict=True))
        if (hu[part] == box).all():
            return tuple(int(at) for at in place)
    raise AssertionError("the box is no part of the scan")


def correct(page: Page) -> None:
    canvas = page.locator(".screen canvas")
    page.get_by_role("button", name="Correct the gallbladder").click()
    drag(page, canvas, (-20, -20), (20, -20))
    canvas.focus()
    for _ in range(3):
        page.keyboard.press("ArrowUp")
    page.get_by_role("button", name="Confirm", exact=True).click()
    page.get_by_role("button", name="Confirm: no esophagus there").click()
    page.get_by_label("Your name").fill("Anna")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator(".correct")).to_contain_text("Submitted: gallbladder, esophagus.")
    expect(page.locator("tr[data-organ=gallbladder]")).to_contain_text("Confirmed by Anna")
