"""Dagster's UI as a person uses it: its pages, buttons and dialogs by the names that can be read on them."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import ConsoleMessage, Locator, Page


@dataclass
class UI:
    """A browser's page on a running webserver; what its console says meanwhile is kept."""

    address: str
    page: Page
    location: str
    screenshots: Path | None = None
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"{self.page.url}: {error}"))
        if self.screenshots:
            self.screenshots.mkdir(parents=True, exist_ok=True)

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.address}{path}")
        return self.page

    def open_automation(self, kind: str, name: str) -> Page:
        """`kind`: "sensors" or "schedules"."""
        return self.open(f"/locations/{self.location}/{kind}/{name}")

    def switch(self) -> Locator:
        """The one of a sensor's or a schedule's page: the input within it is not drawn."""
        return self.page.locator("label:has(input[type=checkbox])").first

    def launch(self, button: str, partitions: str) -> Page:
        """Materialize partitions of what the page shows; ends on the page of the run or backfill."""
        self.page.get_by_role("button", name=re.compile(button)).first.click()
        confirm = self.page.get_by_role("button", name="Confirm")
        dialog = self.page.get_by_role("dialog").filter(has_text="Launch runs to materialize")
        dialog.or_(confirm).first.wait_for()
        if confirm.is_visible():
            confirm.click()
        chosen = dialog.get_by_role("textbox").first
        chosen.fill(partitions)
        chosen.press("Enter")
        dialog.get_by_role("button", name=re.compile(r"Launch (\d+ runs?|run|backfill)")).click()
        self.page.locator("a, button").filter(has_text=re.compile("^View$")).first.click()
        self.page.wait_for_url(re.compile("/runs/|/backfills?/"))
        return self.page

    def stop_backfill(self) -> None:
        """On its page."""
        self.page.locator("button:has([aria-label=expand_more])").click()
        self.page.get_by_role("menuitem", name="Cancel backfill").click()
        self.page.get_by_role("dialog").get_by_role("button", name="Cancel backfill").click()

    def shot(self, name: str) -> None:
        """Kept as a picture, if the environment names a folder for pictures."""
        if self.screenshots:
            self.page.screenshot(path=self.screenshots / f"{name}.png")

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"{self.page.url}: {message.text} ({message.location.get('url')})")
