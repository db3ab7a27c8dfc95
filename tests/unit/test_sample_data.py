"""The sample, read back by an intake and by books that share no code with what wrote it."""

import ast
import csv
import hashlib
import json
import re
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, NoReturn

import pytest

import affirm_assets.lender.sample_data
from affirm_assets.declare.partitions import Window
from affirm_assets.lender.finance.instalment import level_instalment
from affirm_assets.lender.intake.feeds import ADJUSTMENT_FIELDS, LOAN_FIELDS, LOOK_BACK_DAYS, STATES, TRANSACTION_FIELDS
from affirm_assets.lender.sample_data import BUSINESS_FILE, Business, SampleSummary, files, write_sample_data
from affirm_assets.lender.sample_data.window import SampleWindow, origination_days
from affirm_assets.lender.vocabulary import LOAN_KINDS

START = date(2024, 9, 1)
DAYS = 180
ARGUMENTS: dict[str, Any] = {"loans": 1500, "start": START, "days": DAYS, "seed": 12}
SMALL: dict[str, Any] = {"loans": 120, "start": START, "days": 90, "seed": 11}

WRITTEN_LOAN_FIELDS = tuple(name for name in LOAN_FIELDS if name not in ("instalment", "due_day"))
CENT = Decimal("0.01")
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")
MONEY = re.compile(r"[0-9]+\.[0-9]{2}")


@dataclass(frozen=True)
class Row:
    """A record of good form, and the day on which it landed."""

    landed: date
    fields: dict[str, Any]
    line: bytes

    def amount(self, name: str) -> Decimal:
        return Decimal(self.fields[name])

    def day(self, name: str) -> date:
        return date.fromisoformat(self.fields[name])


@dataclass
class Intake:
    """What a feed's records become, by the rules of the landing zone."""

    booked: dict[str, Row] = field(default_factory=dict)
    # Days from the record booked to the one that equals it, or contradicts it.
    duplicates: list[int] = field(default_factory=list)
    conflicts: list[int] = field(default_factory=list)
    conflicts_in_a_folder: int = 0
    broken: list[bytes] = field(default_factory=list)
    # Good ones of a loan that is in no file.
    stray: list[bytes] = field(default_factory=list)

    def take_folder(self, rows: dict[str, list[Row]]) -> None:
        for key, same in rows.items():
            if key not in self.booked and len({row.line for row in same}) > 1:
                self.conflicts_in_a_folder += len(same)
                continue
            for row in same:
                booked = self.booked.setdefault(key, row)
                if booked is not row:
                    lags = self.duplicates if booked.line == row.line else self.conflicts
                    lags.append((row.landed - booked.landed).days)


@dataclass(frozen=True)
class Sample:
    landing: Path
    summary: SampleSummary
    loans: Intake
    transactions: Intake

    def transactions_of_loans(self) -> dict[str, list[tuple[str, Row]]]:
        grouped = defaultdict(list)
        for key, row in self.transactions.booked.items():
            if row.fields["loan_id"]:
                grouped[row.fields["loan_id"]].append((key, row))
        return grouped


def lines(landing: Path, feed: str) -> Iterator[tuple[date, list[bytes]]]:
    for folder in sorted((landing / feed).iterdir()):
        parts = [part.read_bytes().splitlines() for part in sorted(folder.glob("part-*"))]
        yield date.fromisoformat(folder.name), [line for part in parts for line in part]


def is_good_loan(fields: dict[str, Any], landed: date) -> bool:
    texts = {name: value for name, value in fields.items() if name != "instalments"}
    if tuple(fields) != WRITTEN_LOAN_FIELDS or not all(isinstance(value, str) for value in texts.values()):
        return False
    amounts = [fields[name] for name in ("principal", "merchant_discount", "apr")]
    if not all(MONEY.fullmatch(text) for text in amounts) or type(fields["instalments"]) is not int:
        return False
    principal, discount, apr = map(Decimal, amounts)
    try:
        originated, due = (date.fromisoformat(fields[name]) for name in ("originated_on", "first_due_on"))
    except ValueError:
        return False
    terms = {
        "pay_in_4": fields["instalments"] == 4
        and apr == 0
        and fields["frequency"] == "biweekly"
        and 20 <= principal <= 1500,
        "installment": 3 <= fields["instalments"] <= 60 and 0 <= apr <= 36 and 50 <= principal <= 30_000,
    }
    return (
        all(ID.fullmatch(fields[name]) for name in ("loan_id", "user_id", "merchant_id"))
        and fields["borrower_email"] == f"user{fields['user_id'][1:]}@example.com"
        and fields["borrower_state"] in STATES
        and fields["currency"] == "USD"
        and fields["frequency"] in ("biweekly", "monthly")
        and 0 <= discount < principal
        and terms.get(fields["product"], False)
        and originated <= landed
        and timedelta(0) < due - originated <= timedelta(62)
    )


def is_good_transaction(fields: dict[str, str], landed: date, loans: dict[str, Row]) -> bool:
    try:
        effective = date.fromisoformat(fields["effective_on"])
    except ValueError:
        return False
    if not (MONEY.fullmatch(fields["amount"]) and Decimal(fields["amount"]) > 0 and effective <= landed):
        return False
    named = [name for name in ("transaction_id", "loan_id", "merchant_id", "reverses") if fields[name]]
    expected = {
        "payment": ["transaction_id", "loan_id"],
        "payment_reversal": ["transaction_id", "loan_id", "reverses"],
        "refund": ["transaction_id", "loan_id", "merchant_id"],
        "recovery": ["transaction_id", "loan_id"],
        "credit_refund": ["transaction_id", "loan_id"],
        "merchant_payout": ["transaction_id", "merchant_id"],
    }
    if named != expected.get(fields["kind"]) or not all(ID.fullmatch(fields[name]) for name in named):
        return False
    loan = loans.get(fields["loan_id"])
    return loan is None or loan.day("originated_on") <= effective


def refuse(token: str) -> NoReturn:
    raise ValueError(f"a number that is not a whole one: {token}")


def read_loans(landing: Path) -> Intake:
    intake = Intake()
    for landed, day_lines in lines(landing, "loans"):
        rows: dict[str, list[Row]] = defaultdict(list)
        for line in day_lines:
            try:
                fields = json.loads(line.decode(), parse_float=refuse, parse_constant=refuse)
            except ValueError:
                intake.broken.append(line)
                continue
            if is_good_loan(fields, landed):
                rows[fields["loan_id"]].append(Row(landed, fields, line))
            else:
                intake.broken.append(line)
        intake.take_folder(rows)
    return intake


def read_transactions(landing: Path, loans: dict[str, Row]) -> Intake:
    intake = Intake()
    for landed, day_lines in lines(landing, "transactions"):
        if not day_lines:
            continue
        assert day_lines[0].decode().split(",") == list(TRANSACTION_FIELDS)
        rows: dict[str, list[Row]] = defaultdict(list)
        for line in day_lines[1:]:
            try:
                (values,) = csv.reader([line.decode()], strict=True)
                fields = dict(zip(TRANSACTION_FIELDS, values, strict=True))
            except ValueError:
                intake.broken.append(line)
                continue
            if not is_good_transaction(fields, landed, loans):
                intake.broken.append(line)
            elif fields["loan_id"] and fields["loan_id"] not in loans:
                intake.stray.append(line)
            else:
                rows[fields["transaction_id"]].append(Row(landed, fields, line))
        intake.take_folder(rows)
    return intake


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    landing = tmp_path_factory.mktemp("lake") / "landing"
    summary = write_sample_data(landing, **ARGUMENTS)
    loans = read_loans(landing)
    return Sample(landing, summary, loans, read_transactions(landing, loans.booked))


def digests(landing: Path) -> dict[str, str]:
    return {
        str(path.relative_to(landing)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(landing.rglob("*"))
        if path.is_file()
    }


class TestSameBytes:
    def test_for_the_same_arguments(self, sample: Sample, tmp_path: Path) -> None:
        assert write_sample_data(tmp_path, **ARGUMENTS) == sample.summary
        assert digests(tmp_path) == digests(sample.landing)

    def test_whatever_is_held_before_it_is_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_sample_data(tmp_path / "at once", **SMALL)
        monkeypatch.setattr(files, "_BUFFER_BYTES", 1_000)
        write_sample_data(tmp_path / "bit by bit", **SMALL)
        assert digests(tmp_path / "bit by bit") == digests(tmp_path / "at once")

    def test_when_written_over_another_sample(self, tmp_path: Path) -> None:
        write_sample_data(tmp_path / "fresh", **SMALL)
        write_sample_data(tmp_path / "used", **(SMALL | {"seed": 12, "loans": 200}))
        stale = tmp_path / "used" / "loans" / START.isoformat() / "part-00001.parquet"
        stale.touch()
        write_sample_data(tmp_path / "used", **SMALL)
        assert digests(tmp_path / "used") == digests(tmp_path / "fresh")

    def test_but_not_for_another_seed(self, tmp_path: Path) -> None:
        write_sample_data(tmp_path / "one", **SMALL)
        write_sample_data(tmp_path / "other", **(SMALL | {"seed": 12}))
        one, other = digests(tmp_path / "one"), digests(tmp_path / "other")
        same = [name for name in one.keys() & other.keys() if one[name] == other[name] and "part-" in name]
        assert not same

    def test_other_days_are_not_touched(self, tmp_path: Path) -> None:
        kept = tmp_path / "loans" / (START - timedelta(1)).isoformat() / "part-00000.jsonl"
        kept.parent.mkdir(parents=True)
        kept.write_text("kept")
        write_sample_data(tmp_path, **SMALL)
        assert kept.read_text() == "kept"


class TestDaysAfterIt:
    """The business goes on after the days that were asked for."""

    @pytest.mark.parametrize("start", [date(2024, 1, 30), date(2024, 9, 1), date(2024, 12, 15)], ids=str)
    def test_days_one_by_one_have_the_bytes_of_a_longer_sample(self, tmp_path: Path, start: date) -> None:
        business: dict[str, Any] = {"loans": 300, "start": start, "days": 50, "seed": 4}
        write_sample_data(tmp_path / "longer", **business, only=Window(start, start + timedelta(89)))
        write_sample_data(tmp_path / "by day", **business)
        assert digests(tmp_path / "by day").items() <= digests(tmp_path / "longer").items()
        for day in (start + timedelta(number) for number in range(50, 90)):
            write_sample_data(tmp_path / "by day", **business, only=Window(day, day))
        assert digests(tmp_path / "by day") == digests(tmp_path / "longer")

    def test_loans_are_made_at_the_same_rate_and_former_ones_are_paid(self, tmp_path: Path) -> None:
        for days in (Window(START, START + timedelta(89)), Window(START + timedelta(90), START + timedelta(179))):
            write_sample_data(tmp_path, **(SMALL | {"loans": 900}), only=days)
        sample = read_loans(tmp_path)
        cash = read_transactions(tmp_path, sample.booked)
        late = [row for row in sample.booked.values() if row.landed >= START + timedelta(90)]
        assert 0.8 * 900 < len(late) < 1.5 * 900
        paid = {row.fields["loan_id"] for row in cash.booked.values() if row.landed >= START + timedelta(90)}
        assert len(paid - {row.fields["loan_id"] for row in late}) > 300

    def test_a_summary_counts_what_is_written(self, tmp_path: Path) -> None:
        day = START + timedelta(100)
        summary = write_sample_data(tmp_path, **ARGUMENTS, only=Window(day, day))
        received = [len(found) for feed in ("loans", "adjustments") for _, found in lines(tmp_path, feed)]
        received += [len(found) - 1 for _, found in lines(tmp_path, "transactions")]
        assert received == [summary.records("loans"), summary.records("adjustments"), summary.records("transactions")]
        assert (summary.days, summary.files) == (1, len(list(tmp_path.rglob("part-*"))))

    @pytest.mark.parametrize("first", [START - timedelta(1), date(9999, 12, 1)], ids=str)
    def test_no_day_before_it_nor_at_the_end_of_time(self, tmp_path: Path, first: date) -> None:
        with pytest.raises(ValueError, match=f"only={first}: expected days from 2024-09-01 to 150 days before 9999"):
            write_sample_data(tmp_path, **SMALL, only=Window(first, first))

    def test_the_files_say_whose_they_are(self, sample: Sample) -> None:
        assert Business.parse((sample.landing / BUSINESS_FILE).read_bytes()) == Business(**ARGUMENTS)

    @pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"loans": "many"}', b"\xff"])
    def test_nonsense_is_no_business(self, content: bytes) -> None:
        with pytest.raises(ValueError, match="expected loans, start, days and seed; found"):
            Business.parse(content)


class TestFolders:
    def test_every_day_of_each_feed_counts(self, sample: Sample) -> None:
        expected = {(START + timedelta(day)).isoformat() for day in range(DAYS)}
        for feed, suffix in (("loans", "jsonl"), ("transactions", "csv"), ("adjustments", "jsonl")):
            folders = {
                folder.name: {path.name for path in folder.iterdir()} for folder in (sample.landing / feed).iterdir()
            }
            assert set(folders) == expected
            assert all(names <= {"_SUCCESS", f"part-00000.{suffix}"} for names in folders.values())
            assert all((sample.landing / feed / day / "_SUCCESS").stat().st_size == 0 for day in expected)

    def test_a_day_without_records_counts_too(self, tmp_path: Path) -> None:
        summary = write_sample_data(tmp_path, loans=1, start=START, days=30, seed=1)
        empty = [path for path in tmp_path.glob("*/*") if [found.name for found in path.iterdir()] == ["_SUCCESS"]]
        assert len(list(tmp_path.glob("*/*/_SUCCESS"))) == 90
        assert len(empty) == 90 - summary.files

    def test_summary_counts_files_and_days(self, sample: Sample) -> None:
        assert sample.summary.files == len(list(sample.landing.rglob("part-*")))
        assert sample.summary.days == DAYS

    def test_none_counts_while_it_is_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_sample_data(tmp_path, **SMALL)

        def interrupted(message: str) -> None:
            raise KeyboardInterrupt(message)

        with pytest.raises(KeyboardInterrupt):
            write_sample_data(tmp_path, **SMALL, progress=interrupted)
        assert not list(tmp_path.rglob("_SUCCESS"))


class TestOutcomes:
    """An intake that shares nothing with the writer comes to the writer's counts."""

    def test_good_records(self, sample: Sample) -> None:
        assert len(sample.loans.booked) == sample.summary.loans == ARGUMENTS["loans"]
        assert len(sample.transactions.booked) == sample.summary.transactions

    @pytest.mark.parametrize("feed", ["loans", "transactions"])
    def test_each_oddity_is_there_as_often_as_is_said(self, sample: Sample, feed: str) -> None:
        intake = sample.loans if feed == "loans" else sample.transactions
        found: Counter[str] = Counter()
        for lag in intake.duplicates:
            when = "same_day" if lag == 0 else "later_day" if lag <= LOOK_BACK_DAYS else "past_look_back"
            found[f"duplicate_{when}"] += 1
        assert all(0 < lag <= LOOK_BACK_DAYS for lag in intake.conflicts)
        found["conflict_later_day"] = len(intake.conflicts)
        found["conflict_same_day"] = intake.conflicts_in_a_folder
        for line in (*intake.broken, *intake.stray):
            kind = re.search(rb"L[0-9]{9}-([a-z0-9_]+)", line)
            assert kind, line
            found[kind[1].decode()] += 1

        counted = {count.kind: count.records for count in sample.summary.oddities if count.feed == feed}
        assert found == counted
        assert min(counted.values()) >= 1

    @pytest.mark.parametrize("feed", ["loans", "transactions"])
    def test_totals_of_the_summary(self, sample: Sample, feed: Any) -> None:
        intake = sample.loans if feed == "loans" else sample.transactions
        headers = len(list(sample.landing.glob("transactions/*/part-*"))) if feed == "transactions" else 0
        received = sum(len(day_lines) for _, day_lines in lines(sample.landing, feed)) - headers
        rejected = len(intake.broken) + len(intake.conflicts) + intake.conflicts_in_a_folder
        assert sample.summary.planted(feed, "duplicate") == len(intake.duplicates)
        assert sample.summary.planted(feed, "rejected") == rejected
        assert sample.summary.planted(feed, "suspense") == len(intake.stray)
        read = len(intake.booked) + len(intake.duplicates) + rejected + len(intake.stray)
        assert sample.summary.records(feed) == received == read

    @pytest.mark.parametrize("seed", range(3, 7))
    def test_a_thousand_loans_have_one_of_each(self, tmp_path: Path, seed: int) -> None:
        summary = write_sample_data(tmp_path, loans=1000, start=START, days=90, seed=seed)
        assert {count.kind for count in summary.oddities if count.records == 0} == set()

    def test_late_records(self, sample: Sample) -> None:
        lags = [(row.landed - row.day("originated_on")).days for row in sample.loans.booked.values()]
        lags += [(row.landed - row.day("effective_on")).days for row in sample.transactions.booked.values()]
        assert sample.summary.late == sum(lag > 0 for lag in lags) > 0
        assert sample.summary.late_past_look_back == sum(lag > LOOK_BACK_DAYS for lag in lags) > 0


class TestBorrowers:
    def test_some_borrow_more_than_once_and_live_in_one_state(self, sample: Sample) -> None:
        states = defaultdict(list)
        for row in sample.loans.booked.values():
            states[row.fields["user_id"]].append(row.fields["borrower_state"])
        assert any(len(given) > 2 for given in states.values())
        assert all(len(set(given)) == 1 for given in states.values())

    def test_both_products_and_rates_from_none_to_the_highest(self, sample: Sample) -> None:
        rows = [row for row in sample.loans.booked.values() if row.fields["product"] == "installment"]
        rates = [row.amount("apr") for row in rows]
        assert min(rates) == 0
        assert max(rates) == 36
        assert {row.fields["frequency"] for row in rows} == {"biweekly", "monthly"}
        assert 0.3 < len(rows) / len(sample.loans.booked) < 0.6

    def test_a_few_merchants_sell_most(self, sample: Sample) -> None:
        sold = Counter(row.fields["merchant_id"] for row in sample.loans.booked.values())
        assert len(sold) > 150
        assert sum(count for _, count in sold.most_common(30)) > len(sample.loans.booked) / 3

    def test_originations_follow_the_week_and_the_year(self) -> None:
        window = SampleWindow(date(2024, 1, 1), 366)
        made = Counter(origination_days(window, 100_000, seed=5, days=window.days))
        by_weekday = Counter(dict.fromkeys(range(7), 0))
        by_month: Counter[int] = Counter()
        for day, count in made.items():
            by_weekday[window.date_of(day).weekday()] += count
            by_month[window.date_of(day).month] += count
        assert by_weekday[0] > 1.2 * by_weekday[5]
        assert by_month[12] > 1.3 * by_month[2]
        assert made.total() == 100_000


class TestTransactions:
    def test_every_kind_is_there(self, sample: Sample) -> None:
        kinds = {row.fields["kind"] for row in sample.transactions.booked.values()}
        assert kinds == {*LOAN_KINDS, "merchant_payout"} - {"refund_reversal"}

    def test_what_happens_before_a_loan_lands_is_not_held_back(self, sample: Sample) -> None:
        """A loan of which something happens before it lands is very late, and bears no interest."""
        early = []
        for loan_id, rows in sample.transactions_of_loans().items():
            loan = sample.loans.booked[loan_id]
            before = [row for _, row in rows if row.day("effective_on") < loan.landed]
            early += before
            assert not before or loan.amount("apr") == 0
        punctual = [row for row in early if row.landed == row.day("effective_on")]
        assert len(punctual) > 3
        assert len(punctual) > 0.8 * len(early)

    def test_a_reversal_is_of_a_payment_that_has_landed(self, sample: Sample) -> None:
        booked = sample.transactions.booked
        reversals = [row for row in booked.values() if row.fields["kind"] == "payment_reversal"]
        for reversal in reversals:
            payment = booked[reversal.fields["reverses"]]
            assert payment.fields["kind"] == "payment"
            assert payment.landed <= reversal.landed
            assert payment.day("effective_on") < reversal.day("effective_on")
            for name in ("loan_id", "amount"):
                assert payment.fields[name] == reversal.fields[name]

    def test_merchants_are_paid_the_day_after_what_their_loans_left(self, sample: Sample) -> None:
        moved: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
        for row in sample.loans.booked.values():
            moved[row.fields["merchant_id"], row.landed] += row.amount("principal") - row.amount("merchant_discount")
        paid = {}
        for row in sample.transactions.booked.values():
            if row.fields["kind"] == "merchant_payout":
                paid[row.fields["merchant_id"], row.landed] = row.amount("amount")
            elif row.fields["kind"] == "refund":
                loan = sample.loans.booked[row.fields["loan_id"]]
                assert row.fields["merchant_id"] == loan.fields["merchant_id"]
                discount = loan.amount("merchant_discount") * row.amount("amount") / loan.amount("principal")
                returned = row.amount("amount") - discount.quantize(CENT, ROUND_HALF_UP)
                moved[row.fields["merchant_id"], row.landed] -= returned
        expected = {}
        for merchant in {merchant for merchant, _ in moved}:
            owed = Decimal(0)
            for day in (START + timedelta(number) for number in range(1, DAYS)):
                owed += moved.get((merchant, day - timedelta(1)), Decimal(0))
                if owed > 0:
                    expected[merchant, day] = owed
                    owed = Decimal(0)
        assert paid == expected

    def test_movements_agree_with_the_books(self, sample: Sample) -> None:
        """Kept day by day, no loan is paid more than it owes but what comes back, and none is recovered too early."""
        kinds: Counter[str] = Counter()
        for loan_id, rows in sample.transactions_of_loans().items():
            loan = sample.loans.booked[loan_id]
            books = Books(loan, rows)
            # The books give interest back for what lands late, to the cent; here it is enough to keep the others.
            if loan.amount("apr") == 0 or all(row.landed == row.day("effective_on") for _, row in rows):
                kinds.update(books.keep())
            if any(row.fields["kind"] == "recovery" for _, row in rows):
                first = min(row.day("effective_on") for _, row in rows if row.fields["kind"] == "recovery")
                assert (first - books.oldest_unmet(before=first)).days > 120
        assert kinds["repaid"] > 100
        assert kinds["credit returned"] > 10
        assert kinds["reversed"] > 10


class TestAdjustments:
    @pytest.fixture(scope="class")
    def records(self, sample: Sample) -> list[tuple[date, dict[str, str]]]:
        found = lines(sample.landing, "adjustments")
        return [(landed, json.loads(line)) for landed, day_lines in found for line in day_lines]

    @pytest.fixture(scope="class")
    def good(self, records: list[tuple[date, dict[str, str]]]) -> list[tuple[date, dict[str, str]]]:
        return [(landed, fields) for landed, fields in records if "-" not in fields["adjustment_id"]]

    def test_one_loan_in_a_hundred_is_given_a_few_dollars(
        self, sample: Sample, good: list[tuple[date, dict[str, str]]]
    ) -> None:
        assert len(good) == sample.summary.adjustments
        # Those of the last loans come after the last day.
        assert 0.7 * ARGUMENTS["loans"] / 100 < len(good) <= ARGUMENTS["loans"] / 100
        assert len({fields["adjustment_id"] for _, fields in good}) == len(good)
        assert {fields["kind"] for _, fields in good} == {"goodwill_credit", "waiver"}
        for landed, fields in good:
            assert tuple(fields) == tuple(ADJUSTMENT_FIELDS)
            assert MONEY.fullmatch(fields["amount"])
            assert 1 <= Decimal(fields["amount"]) < 10
            assert fields["effective_on"] == landed.isoformat()
            assert ID.fullmatch(fields["approver"])
            assert fields["reason"]
            assert fields["transaction_id"] == ""

    def test_the_loan_is_open_and_owes_more(self, sample: Sample, good: list[tuple[date, dict[str, str]]]) -> None:
        transactions = sample.transactions_of_loans()
        for landed, fields in good:
            loan = sample.loans.booked[fields["loan_id"]]
            rows = [row for _, row in transactions.get(fields["loan_id"], []) if row.day("effective_on") <= landed]
            assert loan.landed < landed
            signs = [(-1 if row.fields["kind"] == "payment_reversal" else 1, row.amount("amount")) for row in rows]
            assert loan.amount("principal") - sum(sign * amount for sign, amount in signs) >= 10
            assert (landed - loan.day("first_due_on")).days < 120

    def test_the_broken_ones_are_counted(self, sample: Sample, records: list[tuple[date, dict[str, str]]]) -> None:
        broken = [fields for _, fields in records if "-" in fields["adjustment_id"]]
        found = Counter(fields["adjustment_id"].partition("-")[2] for fields in broken)
        assert found == {each.kind: each.records for each in sample.summary.oddities if each.feed == "adjustments"}
        for fields in broken:
            is_known = fields["loan_id"] in sample.loans.booked
            assert (fields["approver"] == "", is_known) == (is_known, fields["adjustment_id"].endswith("no_approver"))
        assert sample.summary.planted("adjustments", "rejected") == len(broken) > 0
        assert sample.summary.records("adjustments") == len(records)


@dataclass
class Books:
    """One loan, kept in decimals and by effective date, by another way than the writer's whole numbers."""

    loan: Row
    rows: list[tuple[str, Row]]

    def keep(self) -> list[str]:
        principal, interest, credit = self.loan.amount("principal"), Decimal(0), Decimal(0)
        accrued = posted = Decimal(0)
        applied: dict[str, tuple[Decimal, Decimal]] = {}
        events = []
        day = self.loan.day("originated_on")
        for key, row in sorted(self.rows, key=lambda item: (item[1].day("effective_on"), item[0])):
            if row.fields["kind"] == "recovery":
                break
            while day < row.day("effective_on"):
                day += timedelta(1)
                accrued += (principal * self.loan.amount("apr") / 36500).quantize(Decimal("1E-8"), ROUND_HALF_UP)
            interest += accrued.quantize(CENT, ROUND_HALF_UP) - posted
            posted = accrued.quantize(CENT, ROUND_HALF_UP)
            amount = row.amount("amount")
            if row.fields["kind"] == "payment":
                assert principal + interest > 0, f"{key}: a payment on a loan that owes nothing"
                to_interest = min(amount, interest)
                to_principal = min(amount - to_interest, principal)
                applied[key] = to_interest, to_principal
                interest, principal = interest - to_interest, principal - to_principal
                credit += amount - to_interest - to_principal
            elif row.fields["kind"] == "payment_reversal":
                to_interest, to_principal = applied[row.fields["reverses"]]
                assert to_interest + to_principal == amount
                interest, principal = interest + to_interest, principal + to_principal
                events.append("reversed")
            elif row.fields["kind"] == "refund":
                to_principal = min(amount, principal)
                to_interest = min(amount - to_principal, interest)
                interest, principal = interest - to_interest, principal - to_principal
                credit += amount - to_interest - to_principal
            else:
                assert credit == amount, f"{key}: returns {amount} of a credit of {credit}"
                credit = Decimal(0)
                events.append("credit returned")
        return [*events, "repaid"] if principal + interest == 0 else events

    def oldest_unmet(self, before: date) -> date:
        """When the first instalment that the payments before a day do not cover fell due."""
        paid = Decimal(0)
        for _, row in self.rows:
            if row.day("effective_on") < before:
                paid += row.amount("amount") * {"payment": 1, "payment_reversal": -1}[row.fields["kind"]]
        frequency, instalments = self.loan.fields["frequency"], self.loan.fields["instalments"]
        instalment = level_instalment(self.loan.amount("principal"), self.loan.amount("apr"), instalments, frequency)
        window = SampleWindow(START, DAYS)
        due = list(window.due_days((self.loan.day("first_due_on") - START).days, frequency, instalments))
        return window.date_of(due[int(paid / instalment)])


@pytest.mark.parametrize(
    ("first", "frequency", "instalments", "expected"),
    [
        ("2025-01-31", "monthly", 4, ["2025-01-31", "2025-02-28", "2025-03-31", "2025-04-30"]),
        ("2025-02-28", "monthly", 2, ["2025-02-28", "2025-03-31"]),
        ("2024-12-30", "monthly", 4, ["2024-12-30", "2025-01-30", "2025-02-28", "2025-03-30"]),
        ("2025-02-14", "biweekly", 3, ["2025-02-14", "2025-02-28", "2025-03-14"]),
    ],
)
def test_due_days(first: str, frequency: str, instalments: int, expected: list[str]) -> None:
    window = SampleWindow(date(2024, 12, 1), 10)
    start = (date.fromisoformat(first) - window.start).days
    assert [window.text(day) for day in window.due_days(start, frequency, instalments)] == expected


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"loans": 0}, "loans=0: expected 1 or more"),
        ({"days": 0}, "days=0: expected 1 or more"),
        ({"days": -5}, "days=-5: expected 1 or more"),
        ({"start": datetime(2025, 1, 2, 3)}, r"start=datetime.*: expected a date, found a datetime"),
        ({"start": date(9999, 12, 1), "days": 1}, "days=1: expected a window from 9999-12-01 that ends"),
    ],
)
def test_refuses_nonsense(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        write_sample_data(tmp_path / "landing", **(SMALL | changed))
    assert not (tmp_path / "landing").exists()


def test_refuses_a_landing_zone_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "landing").touch()
    with pytest.raises(ValueError, match="expected a folder, found a file"):
        write_sample_data(tmp_path / "landing", **SMALL)


@pytest.mark.parametrize("days", [1, 2, 36])
def test_short_windows(days: int, tmp_path: Path) -> None:
    summary = write_sample_data(tmp_path, loans=1000, start=START, days=days, seed=2)
    assert len(read_loans(tmp_path).booked) == summary.loans == 1000


def test_progress_is_reported(tmp_path: Path) -> None:
    reported: list[str] = []
    write_sample_data(tmp_path, **SMALL, progress=reported.append)
    assert reported == ["120 of 120 loans, up to 2024-11-29"]


def test_no_money_passes_through_a_float() -> None:
    for source in Path(affirm_assets.lender.sample_data.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), source
            assert not (isinstance(node, ast.Name) and node.id == "float"), source
            assert not (isinstance(node, ast.Attribute) and node.attr in ("random", "uniform", "gauss")), source


def test_memory_does_not_grow_with_the_loans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_BUFFER_BYTES", 50_000)

    def peak(loans: int) -> int:
        tracemalloc.start()
        write_sample_data(tmp_path, **(SMALL | {"loans": loans}))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(50)
    assert peak(1600) < 1.2 * peak(400)
