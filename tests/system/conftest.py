"""Tests that need more than Python. ``make test-system`` installs what they need, so nothing is
skipped here: a skip is a failure."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium; it draws 3D on the processor, for a test machine has no GPU."""
    from playwright.sync_api import sync_playwright  # make dist runs the wheel's tests without it

    program = shutil.which("chromium")
    assert program, "no chromium; make test-system installs it"
    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        yield browser
        browser.close()
