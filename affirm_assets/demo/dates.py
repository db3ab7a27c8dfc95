"""Over which dates the demo is: those of its lake, or of a new one, whose dates end yesterday."""

from dataclasses import dataclass
from datetime import date, timedelta

from affirm_assets.errors import SampleDateRefused
from affirm_assets.lender.sample_data import Business

DEFAULT_LOANS = 3000
DEFAULT_DAYS = 180
DEFAULT_SEED = 1


@dataclass(frozen=True)
class Asked:
    """What the command line says; None: nothing."""

    start: date | None = None
    days: int | None = None
    loans: int | None = None
    seed: int | None = None


def business_of(asked: Asked, first: date | None, kept: Business | None, today: date) -> Business:
    """What the demo writes and materializes. A lake that has begun keeps its first date and, unless asked, the rest.

    `first`: the first business date of a lake that has begun. `kept`: whose files lie in its landing zone.

    Raises:
        SampleDateRefused: The start is another than the lake's, or the last date has not begun.
    """
    before = kept if kept and kept.start == first else None
    days = asked.days or (before.days if before else DEFAULT_DAYS)
    start = first or asked.start or today - timedelta(days=days)
    if asked.start not in (None, start):
        raise SampleDateRefused(
            f"--start {asked.start}: expected {start}, the first business date of this lake. Leave --start out, take "
            "another lake (AFFIRM_LAKE=FOLDER), or remove this one (make clean)."
        )
    if start + timedelta(days=days - 1) > today:
        raise SampleDateRefused(
            f"{days} business dates from {start}: expected the last one to have begun; in New York it is {today}. "
            f"Ask for fewer (--days {max(1, (today - start).days)}) or for an earlier start (--start)."
        )
    return Business(
        start=start,
        days=days,
        loans=asked.loans or (before.loans if before else DEFAULT_LOANS),
        seed=asked.seed if asked.seed is not None else before.seed if before else DEFAULT_SEED,
    )
