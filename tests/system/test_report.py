"""The report as a person has it: opened from disk in a browser, without a network."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from nnstudent.evaluation.evaluate import evaluate
from nnstudent.io.atomic import write_json
from nnstudent.report import write_report
from nnstudent.report.embed import find_viewer
from tests.conftest import ROOT
from tests.evaluation.scenes import make_cohort, organs, save

PATIENCE = 240_000  # ms; a processor draws slowly, more so where it is busy


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    cohort = make_cohort(folder / "cohort", test=5)
    for shift, case in enumerate(cohort.test()):
        save(
            folder / "predictions" / "student" / f"{case.id}.nii.gz",
            organs(shift=shift % 3, tumor=True),
        )
    write_json(
        folder / "scores" / "student.json",
        evaluate(folder / "predictions" / "student", folder / "cohort").to_dict(),
    )
    return folder


class Visit:
    """A page, with what it said on its console and asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("request", lambda request: self.asked.append(request.url))

    def open(self, file: Path) -> None:
        self.page.goto(file.as_uri())

    def check(self, file: Path) -> None:
        """Nothing was complained of, nothing outside of the file was asked for."""
        assert not self.said
        assert [
            address for address in self.asked if not address.startswith(("data:", "blob:"))
        ] == [file.as_uri()]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    yield Visit(context.new_page())
    context.close()


def pixels(place: Locator) -> np.ndarray:
    return np.asarray(
        Image.open(io.BytesIO(place.screenshot(timeout=PATIENCE))).convert("RGB")
    ).astype(int)


def color(picture: np.ndarray) -> float:
    """Share of pixels that are not gray."""
    return float((np.ptp(picture, axis=2) > 25).mean())


def changed(before: np.ndarray, place: Locator) -> float:
    return float((np.abs(pixels(place) - before).max(axis=2) > 25).mean())


def test_scans_are_scrolled_and_organs_switched_in_slices_and_in_3d(
    visit: Visit, run: Path
) -> None:
    assert find_viewer() is not None, "make web builds the viewer"
    file = write_report(run)
    assert file.stat().st_size < 15e6
    visit.open(file)
    page = visit.page
    viewer = page.locator("#viewer")
    viewer.scroll_into_view_if_needed()
    page.wait_for_selector("#viewer[data-shown='0']")
    truth, prediction = page.locator("#viewer canvas").all()
    liver = page.get_by_role("button", name="liver", exact=True)
    assert liver.get_attribute("aria-pressed") == "true"
    assert page.locator("#viewer .nnv-organ").count() == 14

    before = pixels(truth)
    slider = page.get_by_role("slider", name="Slice")

    def scroll_to(share: float) -> None:
        slider.fill(str(round(share * int(slider.get_attribute("max") or 0))))

    scroll_to(0.3)
    assert changed(before, truth) > 0.02, "the slider scrolls"
    truth.click()
    before, there = (
        pixels(prediction),
        slider.input_value(),
    )  # in single precision: 0.3 reads back as 0.300000011920929
    page.mouse.wheel(0, 300)
    expect(slider).not_to_have_value(there, timeout=PATIENCE)
    assert changed(before, prediction) > 0.005, "the wheel scrolls both panes"

    for view in ("Coronal", "3D"):
        page.get_by_role("button", name=view, exact=True).click()
        if view == "Coronal":
            scroll_to(0.35)  # through the stomach, behind the liver
        everything = pixels(truth)
        assert color(everything) > 0.01, view
        page.get_by_role("button", name="None", exact=True).click()
        assert color(pixels(truth)) < 0.002, view
        liver.click()
        assert liver.get_attribute("aria-pressed") == "true"
        page.get_by_role("button", name="stomach", exact=True).click()
        for pane in (truth, prediction):
            assert 0.002 < color(pixels(pane)) < 0.9 * color(everything), view
        page.get_by_role("button", name="All", exact=True).click()
        assert changed(everything, truth) < 0.002, "all on again is what it was"

    page.get_by_role(
        "button", name="worst", exact=False
    ).first.click()  # after the two best and the median
    page.wait_for_selector("#viewer[data-shown='3']")
    assert color(pixels(truth)) > 0.002
    visit.check(file)


def test_without_the_viewer_slices_are_scrolled(
    visit: Visit, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nnstudent.report.html.find_viewer", lambda: None)
    file = write_report(run, out=tmp_path / "plain.html")
    visit.open(file)
    assert visit.page.get_by_text("built without its viewer").is_visible()
    stack = visit.page.locator(".scroll").first
    stack.scroll_into_view_if_needed()
    pictures = stack.locator("img")
    expect(pictures.first).to_be_in_viewport()
    stack.hover()
    visit.page.mouse.wheel(0, 2000)
    expect(pictures.first).not_to_be_in_viewport(timeout=PATIENCE)
    visit.check(file)


def test_the_lock_file_names_no_place() -> None:
    assert '"resolved"' not in (ROOT / "frontend" / "package-lock.json").read_text()
