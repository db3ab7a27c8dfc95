"""The sample in a deployment's landing zone, a folder or a bucket of a real S3 server, and its next date."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from affirm_assets.declare.partitions import Window
from affirm_assets.errors import LakeFileError, SampleDateRefused
from affirm_assets.lender.sample_data import FEEDS, Business, write_sample_data
from affirm_assets.sample import begins_with_sample, land_next, write_sample
from affirm_assets.settings import Settings
from resources.landing.stores import Bucket, Store, store_of
from tests.servers import REGION, S3Server

START = date(2026, 1, 30)
BUSINESS = Business(loans=60, start=START, days=3, seed=5)
NEXT = START + timedelta(days=3)


@pytest.fixture(scope="module")
def bucket(s3: S3Server) -> str:
    s3.create_bucket("next-dates")
    return "next-dates"


@pytest.fixture(params=["folder", "bucket"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "folder":
        return Settings.of({"AFFIRM_LAKE": str(tmp_path / "lake")})
    server: S3Server = request.getfixturevalue("s3")
    root = f"s3://{request.getfixturevalue('bucket')}/{tmp_path.name}"
    return Settings("kubernetes", START, "glue:", root, root, region=REGION, s3_endpoint=server.endpoint)


def store(settings: Settings) -> Store:
    return store_of(settings.landing, settings.region, settings.s3_endpoint)


def landed(settings: Settings, day: date) -> dict[str, bytes]:
    zone = store(settings)
    names = [f"{feed}/{day}/{name}" for feed in FEEDS for name in zone.entries(f"{feed}/{day}") or {}]
    return {name: zone.open(name).read() for name in names}


def test_the_next_date_has_the_files_of_a_longer_sample(settings: Settings, tmp_path: Path) -> None:
    write_sample(settings, BUSINESS)
    longer = tmp_path / "longer"
    write_sample_data(longer, **vars(BUSINESS), only=Window(START, NEXT + timedelta(days=1)))
    for day in (NEXT, NEXT + timedelta(days=1)):
        found, summary = land_next(settings, today=day)
        assert found == day
        files = {str(path.relative_to(longer)): path.read_bytes() for path in longer.glob(f"*/{day}/*")}
        assert landed(settings, day) == files
        assert {f"{feed}/{day}/_SUCCESS" for feed in FEEDS} <= files.keys()
        assert summary.loans > 0


def test_a_date_that_has_not_begun_is_refused(settings: Settings) -> None:
    write_sample(settings, BUSINESS)
    with pytest.raises(SampleDateRefused, match=f"the next one in .* is {NEXT}, and in New York it is 2026-02-01"):
        land_next(settings, today=NEXT - timedelta(days=1))
    assert landed(settings, NEXT) == {}


def test_a_date_that_is_half_there_is_landed_again(settings: Settings) -> None:
    write_sample(settings, BUSINESS)
    land_next(settings, today=NEXT)
    whole = landed(settings, NEXT)
    zone = store(settings)
    if isinstance(zone, Bucket):
        zone.delete(f"adjustments/{NEXT}/_SUCCESS")
    else:
        Path(settings.landing, "adjustments", str(NEXT), "_SUCCESS").unlink()
    assert land_next(settings, today=NEXT)[0] == NEXT
    assert landed(settings, NEXT) == whole


def test_without_a_sample_there_is_nothing_to_go_on_with(settings: Settings) -> None:
    with pytest.raises(
        LakeFileError, match=r"_sample.json: expected a sample to go on with; found no such file\. Write"
    ):
        land_next(settings, today=NEXT)


@pytest.fixture
def lake(tmp_path: Path) -> Settings:
    return Settings.of({"AFFIRM_LAKE": str(tmp_path / "lake")})


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def touch(self: Path, *args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "touch", touch)
        yield


def test_no_folder_counts_before_all_files_are_there(lake: Settings, request: pytest.FixtureRequest) -> None:
    write_sample(lake, BUSINESS)
    request.getfixturevalue("interrupted")
    with pytest.raises(KeyboardInterrupt):
        land_next(lake, today=NEXT)
    names = {name.rpartition("/")[2] for name in landed(lake, NEXT)}
    assert names == {"part-00000.jsonl", "part-00000.csv"}


def test_a_sample_that_is_not_whole_is_none(lake: Settings) -> None:
    write_sample(lake, BUSINESS)
    for path in Path(lake.landing, "loans").glob("*/_SUCCESS"):
        path.unlink()
    with pytest.raises(LakeFileError, match="found no date that is complete in loans, transactions, adjustments"):
        land_next(lake, today=NEXT)


def test_other_names_and_earlier_dates_do_not_count(lake: Settings) -> None:
    write_sample(lake, BUSINESS)
    for feed in FEEDS:
        for name in ("2026-02-30", "_later", str(START - timedelta(days=1))):
            folder = Path(lake.landing, feed, name)
            folder.mkdir()
            (folder / "_SUCCESS").touch()
    assert land_next(lake, today=NEXT)[0] == NEXT


def test_a_malformed_note_is_named(lake: Settings) -> None:
    write_sample(lake, BUSINESS)
    Path(lake.landing, "_sample.json").write_text("{}")
    with pytest.raises(LakeFileError, match=r"_sample.json: expected what `affirm sample-data` writes; found expected"):
        land_next(lake, today=NEXT)


class TestFirstBusinessDate:
    def test_a_new_lake_begins_with_its_sample(self, lake: Settings) -> None:
        assert lake.lake
        write_sample(lake, BUSINESS)
        settings = Settings.of({"AFFIRM_LAKE": str(lake.lake)})
        assert settings.first_business_date == START
        assert not begins_with_sample(settings)

    def test_a_later_sample_leaves_it(self, lake: Settings) -> None:
        write_sample(lake, BUSINESS)
        settings = Settings.of({"AFFIRM_LAKE": str(lake.lake)})
        write_sample(settings, Business(10, START - timedelta(days=9), 2, 1))
        assert Settings.of({"AFFIRM_LAKE": str(lake.lake)}).first_business_date == START

    @pytest.mark.parametrize("there", ["landing/loans/2025-01-02", "warehouse/loans/loans"])
    def test_a_lake_with_files_or_tables_begins_where_it_did(self, lake: Settings, there: str) -> None:
        assert lake.lake
        (lake.lake / there).mkdir(parents=True)
        write_sample(lake, BUSINESS)
        assert Settings.of({"AFFIRM_LAKE": str(lake.lake)}).first_business_date == date(2025, 1, 1)

    def test_what_the_environment_says_is_not_written_down(self, tmp_path: Path) -> None:
        environ = {"AFFIRM_LAKE": str(tmp_path / "lake"), "AFFIRM_FIRST_BUSINESS_DATE": "2025-06-01"}
        write_sample(Settings.of(environ), BUSINESS)
        assert not (tmp_path / "lake" / "first_business_date").exists()
