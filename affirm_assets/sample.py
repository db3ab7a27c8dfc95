"""The sample in a deployment: its files in the landing zone, how they go on, and the first business date with them."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from affirm_assets.declare.partitions import Window, iso_date
from affirm_assets.errors import LakeFileError, SampleDateRefused
from affirm_assets.lender.sample_data import BUSINESS_FILE, FEEDS, Business, SampleSummary, write_sample_data
from affirm_assets.settings import FIRST_BUSINESS_DATE_FILE, Settings
from resources.landing.files import SUCCESS
from resources.landing.stores import Bucket, Store, store_of
from resources.landing.upload import upload


def write_sample(settings: Settings, business: Business, only: Window | None = None) -> SampleSummary:
    """Write days of the business into the landing zone: by default those over which its loans were asked for.

    A local lake that has nothing yet begins with the business.

    Raises:
        ValueError: An argument is out of its range.
        LandingUnreachable: The bucket does not answer, or refuses this process.
    """
    if begins_with_sample(settings):
        assert settings.lake
        settings.lake.mkdir(parents=True, exist_ok=True)
        (settings.lake / FIRST_BUSINESS_DATE_FILE).write_text(f"{business.start}\n")
    with _folder_of(settings) as landing:
        return write_sample_data(
            landing,
            loans=business.loans,
            start=business.start,
            days=business.days,
            seed=business.seed,
            only=only,
        )


def begins_with_sample(settings: Settings) -> bool:
    """Whether nobody has said where the partitions of the local lake begin, and it has neither tables nor files."""
    if settings.lake is None or not settings.first_is_default:
        return False
    return not any(next(folder.glob("*/*"), None) for folder in (Path(settings.landing), settings.lake / "warehouse"))


def land_next(settings: Settings, today: date) -> tuple[date, SampleSummary]:
    """Land the business date after the newest one that is complete in every feed; `today`: in the books' time zone.

    The files are those that a longer sample has on that date. Should this be interrupted, the next call lands the same
    date again: none of its folders counts before its `_SUCCESS`, which comes last.

    Raises:
        LakeFileError: There is no sample to go on with.
        SampleDateRefused: The next date has not begun.
        LandingUnreachable: The bucket does not answer, or refuses this process.
    """
    store = _store_of(settings)
    business = kept_business(store)
    newest = _newest_complete(store, business.start) if business else None
    if business is None or newest is None:
        found = "no such file" if business is None else f"no date that is complete in {', '.join(FEEDS)}"
        raise LakeFileError(
            store.location(BUSINESS_FILE),
            "a sample to go on with",
            found,
            "Write one: affirm sample-data --loans NUMBER --start DATE --days NUMBER.",
        )
    day = newest + timedelta(days=1)
    if day > today:
        raise SampleDateRefused(
            f"affirm sample-data --next: expected a business date that has begun; the next one in {store.location('')} "
            f"is {day}, and in New York it is {today}. Wait until then."
        )
    return day, write_sample(settings, business, Window(day, day))


def kept_business(store: Store) -> Business | None:
    """Whose files lie in the landing zone.

    Raises:
        LakeFileError: What should say so does not.
    """
    try:
        with store.open(BUSINESS_FILE) as file:
            return Business.parse(file.read())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise LakeFileError(
            store.location(BUSINESS_FILE), "what `affirm sample-data` writes", str(error), "Write the sample again."
        ) from error


def _newest_complete(store: Store, start: date) -> date | None:
    names = set.intersection(*(set(store.entries(feed) or {}) for feed in FEEDS))
    days = set()
    for name in names:
        with suppress(ValueError):  # something else lies there
            days.add(iso_date(name))
    for day in sorted(days, reverse=True):
        if day >= start and all(SUCCESS in (store.entries(f"{feed}/{day}") or {}) for feed in FEEDS):
            return day
    return None


def _store_of(settings: Settings) -> Store:
    return store_of(settings.landing, settings.region, settings.s3_endpoint)


@contextmanager
def _folder_of(settings: Settings) -> Iterator[Path]:
    """The landing zone as a folder. A bucket gets what was written there at the end: its files cannot grow."""
    store = _store_of(settings)
    if not isinstance(store, Bucket):
        yield Path(settings.landing)
        return
    with TemporaryDirectory() as folder:
        yield Path(folder)
        upload(Path(folder), store)
