"""A browser, and Dagster's services of the small project for it to look at."""

import os
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.browser.ui import UI
from tests.services import Services

CHROMIUM = shutil.which("chromium")
SECONDS = 90
"""For what a daemon does until it can be seen."""


@pytest.fixture(scope="module")
def first() -> date:
    """The first business date. A recent one: the dialog that launches runs opens on the last 90 days."""
    return date.today() - timedelta(days=30)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, first: date) -> Iterator[Services]:
    if not CHROMIUM:
        pytest.skip("needs a browser: found no chromium on the PATH (Debian's package chromium)")
    environment = {"AFFIRM_FIRST_BUSINESS_DATE": str(first), "TWO_FEEDS_BY_THE_CLOCK": "1"}
    services = Services(tmp_path_factory.mktemp("browser"), environment)
    try:
        yield services
    finally:
        services.stop()


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    expect.set_options(timeout=SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            # It looks at this machine only, as whatever user the tests have, and asks nobody for anything.
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(SECONDS * 1000)
        yield page
        browser.close()


@pytest.fixture(autouse=True)
def shot_of_a_failure(request: pytest.FixtureRequest, ui: UI) -> Iterator[None]:
    """What the browser shows when a test has failed says more than what it waited for."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        ui.shot(f"failed-{request.node.name}")


@pytest.fixture(scope="module")
def ui(services: Services, page: Page) -> UI:
    services.daemon()
    folder = os.environ.get("AFFIRM_SCREENSHOTS")
    ui = UI(services.webserver(), page, services.module, Path(folder) if folder else None)
    # It answers before it has loaded the project; pages that are opened till then stay empty.
    expect(ui.open("/locations").get_by_text("Loaded").first).to_be_visible()
    return ui
