"""The code location of this project, for a webserver or a daemon. Its sensors tick often, and may be made slow.

With TWO_FEEDS_BY_THE_CLOCK in the environment it has a dataset that a schedule starts each minute.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import tests.projects.two_feeds
from affirm_assets.declare.registry import Registry
from affirm_assets.orchestration import books, landing
from resources.landing import Arrival, LandingFile, LandingZone

books.SECONDS_BETWEEN_TICKS = landing.SECONDS_BETWEEN_TICKS = 2

from affirm_assets.definitions import build_defs  # noqa: E402
from affirm_assets.settings import Settings  # noqa: E402


@dataclass(frozen=True)
class SlowZone(LandingZone):
    """While the file `slow listing` or `slow pin` lies beside its folder, each takes the seconds that the file says."""

    def arrivals(self, feed: str, after: str = "") -> Iterator[Arrival]:
        self._wait("slow listing")
        return super().arrivals(feed, after)

    def pin(self, feed: str, first: date, last: date) -> tuple[LandingFile, ...]:
        self._wait("slow pin")
        return super().pin(feed, first, last)

    def _wait(self, name: str) -> None:
        began = time.monotonic()
        with suppress(FileNotFoundError):
            while time.monotonic() - began < float(
                (Path(self.root).parent / name).read_text() or 1
            ):  # empty while it is being written
                time.sleep(0.1)


settings = Settings.of(os.environ)
registry = Registry.walk(tests.projects.two_feeds)
if os.environ.get("TWO_FEEDS_BY_THE_CLOCK"):
    by_the_clock = replace(registry["totals"], name="totals_by_the_clock", starts="* * * * *")
    registry = Registry.of([*registry.in_order(), by_the_clock])
defs = build_defs(settings, registry, {"landing_zone": SlowZone(settings.landing)})
