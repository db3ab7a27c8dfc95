"""What a person does and sees in Dagster's UI on a first day: each test goes on where the one before ended."""

import re
from collections import Counter
from datetime import date, timedelta

from playwright.sync_api import expect

import tests.projects.two_feeds
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.declare.registry import Registry
from affirm_assets.settings import Settings
from affirm_assets.steps.tables import load_if_exists, main_history, window_of
from affirm_assets.stores import catalog_of
from tests.browser.ui import UI
from tests.services import Services, wait_for

SECONDS = 300
UPSTREAM_OF_TOTALS = "/assets/books/totals?view=lineage&lineageScope=upstream&lineageDepth=5"


def land(services: Services, day: date, sales: str = "north,10.00", refunds: str = "north,1.00") -> None:
    for feed, line in (("sales", sales), ("refunds", refunds)):
        folder = services.lake / "landing" / feed / str(day)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "part.csv").write_text(f"shop,amount\n{line}\n")
        (folder / "_SUCCESS").touch()


def main_of(services: Services, first: date, table: str) -> int:
    """The snapshot that readers see."""
    found = catalog_of(Settings.local(services.lake, first)).load().load_table(table).current_snapshot()
    assert found
    return found.snapshot_id


def publishes(services: Services, first: date, days: Window) -> dict[str, int]:
    """How often each daily dataset was published for some of these days; those that never were are left out."""
    catalog = catalog_of(Settings.local(services.lake, first)).load()
    counts: Counter[str] = Counter()
    for each in Registry.walk(tests.projects.two_feeds).in_order():
        table = load_if_exists(catalog, each.table)
        windows = [window_of(snapshot) for snapshot in main_history(table)] if table else []
        if isinstance(each.partitions, Daily):
            counts[each.name] += sum(Window.parse(window).overlaps(days) for window in windows if window)
    return dict(+counts)


def switch_books(ui: UI, *, on: bool) -> None:
    """The sensor that computes business dates."""
    ui.open_automation("sensors", "books")
    ui.switch().click()
    expect(ui.switch().get_by_role("checkbox")).to_be_checked(checked=on)


def test_the_asset_graph(ui: UI) -> None:
    page = ui.open("/asset-groups")
    expect(page.get_by_role("button", name="Materialize all (6)")).to_be_visible()
    page.keyboard.press("Alt+KeyE")  # expands all groups
    for dataset in ("sale_rows", "refund_rows", "takings", "totals", "takings_monthly"):
        expect(page.get_by_text(dataset, exact=True).first).to_be_visible()
    ui.shot("graph")


def test_a_sensor_is_switched_off(ui: UI) -> None:
    page = ui.open_automation("sensors", "books")
    expect(page.get_by_text("View logs").first).to_be_visible()  # it ticks
    switch_books(ui, on=False)


def test_a_partition_is_materialized_from_the_button(ui: UI, services: Services, first: date) -> None:
    land(services, first)
    ui.open(UPSTREAM_OF_TOTALS)
    page = ui.launch("Materialize all", str(first))
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    ui.shot("run")

    page = ui.open(f"/assets/books/takings?view=partitions&partition={first}")
    snapshot = str(main_of(services, first, "books.takings"))
    for name, value in (("rows", "1"), ("sum/amount", "9"), ("snapshot", snapshot)):
        row = page.get_by_role("row").filter(has=page.get_by_text(name, exact=True)).first
        expect(row).to_contain_text(value)
    ui.shot("partition")
    page = ui.open("/assets/books/takings?view=checks&checkDetail=no_shop_gives_more_than_it_takes")
    expect(page.get_by_text("Of no shop are the refunds of a day above its sales.").first).to_be_visible()
    expect(page.get_by_text("Passed", exact=True)).to_be_visible()
    ui.shot("checks")


def test_a_backfill_that_is_stopped_in_its_middle_goes_on_where_it_was(ui: UI, services: Services, first: date) -> None:
    days = Window(first + timedelta(days=1), first + timedelta(days=2))
    for each in (days.first, days.last):
        land(services, each)
    slow = services.lake / "slow pin"
    slow.write_text("5")  # for each of the two datasets that read files
    ui.open(UPSTREAM_OF_TOTALS)
    page = ui.launch("Materialize all", f"[{days.first}...{days.last}]")
    (read,) = wait_for(lambda: publishes(services, first, days), "the first dataset", SECONDS)
    slow.write_text(f"{SECONDS}")
    ui.stop_backfill()
    expect(page.get_by_text("Canceled", exact=True).first).to_be_visible()
    slow.unlink()
    assert publishes(services, first, days) == {read: 1}
    ui.shot("stopped")

    switch_books(ui, on=True)
    once = dict.fromkeys(("sale_rows", "refund_rows", "takings", "totals"), 1)
    wait_for(lambda: publishes(services, first, days) == once, "the rest", SECONDS)
    switch_books(ui, on=False)


def test_a_failed_audit_names_its_keys_and_readers_see_the_former_snapshot(
    ui: UI, services: Services, first: date
) -> None:
    before = main_of(services, first, "books.takings")
    land(services, first + timedelta(days=3), sales="south,1.00", refunds="south,9.00")
    ui.open(UPSTREAM_OF_TOTALS)
    page = ui.launch("Materialize all", str(first + timedelta(days=3)))
    expect(page.get_by_text("Failure", exact=True).first).to_be_visible()
    error = page.get_by_text("no_shop_gives_more_than_it_takes").first
    expect(error).to_be_visible()
    expect(page.get_by_text(re.compile("south")).first).to_be_visible()
    ui.shot("failed")
    assert main_of(services, first, "books.takings") == before


def test_a_range_is_backfilled(ui: UI, services: Services, first: date) -> None:
    begin, end = first + timedelta(days=4), first + timedelta(days=6)
    for number in range(4, 7):
        land(services, first + timedelta(days=number))
    ui.open(UPSTREAM_OF_TOTALS)
    page = ui.launch("Materialize all", f"[{begin}...{end}]")
    expect(page.get_by_text("100% completed")).to_have_count(4)  # of the datasets
    ui.shot("backfill")
    page = ui.open("/assets/books/takings?view=partitions")
    expect(page.get_by_text("Materialized (6)")).to_be_visible()


def test_files_that_land_appear_without_a_click(ui: UI, services: Services, first: date) -> None:
    switch_books(ui, on=True)
    land(services, first + timedelta(days=3), sales="south,9.00", refunds="south,9.00")
    land(services, first + timedelta(days=7))
    page = ui.open("/assets/books/takings?view=partitions")
    # Some runs, one after another: a folder that changed is looked at twice, and read again first.
    expect(page.get_by_text("Materialized (8)")).to_be_visible(timeout=300_000)
    ui.shot("landed")


def test_the_ticks_of_a_sensor_and_of_a_schedule(ui: UI) -> None:
    page = ui.open_automation("sensors", "books")
    expect(page.get_by_text("1 run requested").first).to_be_visible()
    ui.shot("ticks")
    page = ui.open_automation("schedules", "sales_due")
    expect(page.get_by_text("Looks whether the folders of feed sales that are due")).to_be_visible()
    expect(ui.switch().get_by_role("checkbox")).to_be_checked()
    ui.shot("schedule")
    page = ui.open_automation("schedules", "books__totals_by_the_clock")
    expect(page.get_by_text(re.compile("run requested|Skipped")).first).to_be_visible()


def test_the_browser_had_nothing_to_complain_of(ui: UI) -> None:
    assert ui.complaints == []
