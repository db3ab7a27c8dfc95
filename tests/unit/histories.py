"""Random loans with random histories: what arrives for them, and what a person decides."""

import random
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from affirm_assets.lender.finance.movements import Movement
from affirm_assets.lender.finance.rules import Rules
from affirm_assets.lender.finance.terms import Terms
from affirm_assets.lender.vocabulary import WITHOUT_AMOUNT
from tests.unit.integer_books import Books


@dataclass(eq=False)
class History:
    terms: Terms
    booked_on: date
    last: date
    movements: list[Movement]


def random_history(rng: random.Random) -> History:
    """A loan, and what arrives for it: in time, early, late, too much, a cent short, twice, before its time."""
    terms = _terms(rng)
    late = rng.choice([0, 0, 0, 0, 1, 5, 20, 40, 70, 130, 200])
    booked_on = terms.originated_on + timedelta(days=late)
    span = rng.choice([60, 150, 260, 400])
    last = max(terms.originated_on + timedelta(days=span), booked_on + timedelta(days=30))
    days_of_note = [terms.originated_on + timedelta(days=rng.randrange(span)) for _ in range(3)]
    days_of_note += [terms.due_on(number) for number in range(1, min(5, terms.instalments) + 1)]
    arriving = _Arriving(rng, terms, booked_on, last, days_of_note)
    if rng.random() < 0.35:
        for number in range(1, rng.randrange(terms.instalments + 1) + 1):
            arriving.comes_in("payment", terms.due_on(number) + timedelta(days=rng.choice([0, 0, 0, 3, 1, 10])))
    for _ in range(rng.randrange(11)):
        arriving.something()
    arriving.credit_refunds()
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3, 5])):
        arriving.decision()
    return History(terms, booked_on, last, arriving.movements)


class _Arriving:
    def __init__(self, rng: random.Random, terms: Terms, booked_on: date, last: date, days_of_note: list[date]) -> None:
        self.rng, self.terms, self.booked_on, self.last, self.days_of_note = rng, terms, booked_on, last, days_of_note
        self.level, self.price = int(terms.instalment * 100), int(terms.principal * 100)
        self.movements: list[Movement] = []

    def add(self, kind: str, cents: int, came_on: date, effective_on: date, reverses: str | None = None) -> None:
        posted_on = max(came_on, self.booked_on)
        if (cents > 0 or kind in (*WITHOUT_AMOUNT, "debt_sale")) and posted_on <= self.last:
            # Ids are in no order of time.
            name = f"{self.rng.choice('abcxyz')}{len(self.movements)}"
            waited = came_on if came_on < posted_on else None
            amount = Decimal(cents).scaleb(-2)
            self.movements.append(Movement(name, kind, amount, posted_on, effective_on, reverses, waited))  # type: ignore[arg-type]

    def something(self) -> None:
        kinds = ["payment", "recovery", "refund", "payment_reversal", "refund_reversal"]
        [kind] = self.rng.choices(kinds, [6, 1.5, 2.5, 3, 1.2])
        if kind in ("payment", "recovery", "refund"):
            self.comes_in(kind, self.rng.choice(self.days_of_note))
        else:
            self.goes_back(kind)

    def comes_in(self, kind: str, effective_on: date) -> None:
        rng, level, price = self.rng, self.level, self.price
        if kind == "refund":
            some = [price, price, price // 2, price // 3, price - level, price + 1, rng.randrange(1, price + 1)]
            if rng.random() < 0.2:
                effective_on = min(effective_on, self.terms.first_due_on)
        else:
            some = [level] * 4 + [level - 1, level + 1, level - rng.randrange(101), level * 9 // 10, level * 19 // 20]
            some += [level // 2, 2 * level, rng.randrange(1, price + level + 1), price, price * 11 // 10]
        late = 0 if rng.random() < 0.6 else rng.choice([1, 5, 30, 100, rng.randrange(1, 200)])
        self.add(kind, rng.choice(some), effective_on + timedelta(days=late), effective_on)

    def goes_back(self, kind: str) -> None:
        rng, kinds = self.rng, ("refund",) if kind == "refund_reversal" else ("payment", "recovery")
        if candidates := [each for each in self.movements if each.kind in kinds or rng.random() < 0.03]:
            of = rng.choice(candidates)
            after = rng.choice([0, 1, 3, 10, 30, 60, rng.randrange(150), -1, -34, -35, -36])
            came_on = max((of.came_on or of.posted_on) + timedelta(days=after), self.terms.originated_on)
            cents = int(of.amount * 100)
            amount = rng.choice([cents, cents, cents, cents // 2, cents // 3, cents - 1, cents + 1])
            self.add(kind, amount, came_on, came_on - timedelta(days=rng.choice([0, 3])), of.transaction_id)

    def decision(self) -> None:
        """What a person decides, of about what the books say on its day."""
        rng = self.rng
        kinds = ["goodwill_credit", "waiver", "correction", "settlement", "bankruptcy", "fraud", "death", "debt_sale"]
        kinds += ["undo_charge_off", "clear_unapplied"]
        [kind] = rng.choices(kinds, [2, 2, 1, 2, 2, 1, 1, 2, 4, 4])
        books = Books(self.terms, self.booked_on)
        lives = [replace(life) for life in books.run(self.last, self.movements)]
        some = [life for life in lives if (life.charged_off_on is not None) == (kind == "undo_charge_off")]
        if not some and rng.random() < 0.8:
            return
        life = rng.choice(some) if some and rng.random() < 0.9 else rng.choice(lives)
        came_on = date.fromordinal(life.day)
        of, cents = None, 0
        if kind == "clear_unapplied":
            unapplied = [name for name, amount in books.unapplied_of.items() if amount and rng.random() < 0.95]
            others = [each.transaction_id for each in self.movements if rng.random() < 0.05]
            if not unapplied and not others:
                return
            of = rng.choice(unapplied or others)
            amount = abs(books.unapplied_of[of]) or 1
            cents = rng.choice([amount, amount, amount // 2, amount + 1])
            cleared = next(each for each in self.movements if of in (each.transaction_id, each.reverses))
            came_on = max(cleared.posted_on + timedelta(days=rng.choice([0, 1, 1, 5, 30, 50])), self.booked_on)
        elif kind in ("goodwill_credit", "waiver", "correction"):
            cents = rng.choice([self.level, life.owed, life.owed, life.interest, life.owed // 2, life.owed + 1])
        elif kind == "settlement":
            cents = rng.choice([life.owed] * 6 + [life.owed + 1, life.owed - 1])
        elif kind == "debt_sale":
            cents = rng.choice([0, life.owed // 3])
        late = 0 if rng.random() < 0.7 else rng.choice([1, 5, 30, 100, rng.randrange(1, 200)])
        self.add(kind, cents, came_on, came_on - timedelta(days=late), of)

    def credit_refunds(self) -> None:
        """About what the credit balance is on their day."""
        for _ in range(self.rng.choice([0, 0, 1, 2])):
            day = self.rng.choice([*self.days_of_note, self.last, self.last])
            books, posted_on = Books(self.terms, self.booked_on), max(day, self.booked_on)
            if posted_on > self.last:
                continue
            known = [each for each in self.movements if each.posted_on <= posted_on]
            credit = [life.credit for life in books.run(posted_on, known)][-1]
            amount = self.rng.choice([credit, credit, credit // 2, credit + 1])
            self.add("credit_refund", amount, day, day)


def _terms(rng: random.Random) -> Terms:
    originated_on = date(2023, 11, 1) + timedelta(days=rng.randrange(800))
    if rng.random() < 0.4:
        originated_on += timedelta(days=max(0, 27 - originated_on.day))
    to_first = rng.choice([14, 14, 14, 1, 0, 20, 30, 31, 60])
    principal = rng.choice(
        [100_000, 100_000, rng.randrange(1, 30), rng.randrange(30, 1000), rng.randrange(1000, 500_000)]
    )
    rules = Rules(
        instalment_rounding="up",
        instalment_met_at=Decimal(rng.choice(["100", "100", "90", "95", "99.5", "97.25"])),
        shortages_carried=Decimal(rng.choice(["1.00", "1.00", "0.00", "0.05", "5.00", "0.01"])),
        waived_below=Decimal(rng.choice(["1.00", "1.00", "0.00", "0.01", "3.00", "10.00"])),
        interest_after_full_refund=rng.choice(["given_back", "owed"]),
        returned_payment=rng.choice(["never_made", "waived"]),
        merchant_discount=rng.choice(["deferred", "deferred", "at_once"]),
        nonaccrual_after=rng.choice([None, 90]),
        payment_in_nonaccrual=rng.choice(["cost_recovery", "cash_basis"]),
    )
    terms = Terms.agreed(
        principal=Decimal(principal).scaleb(-2),
        apr=Decimal(rng.choice(["0", "18.25", "18.25", "36", "35.99", "10", "7.77", "0.01"])),
        instalments=rng.choice([1, 2, 3, 4, 4, 4, 6, 12]),
        frequency=rng.choice(["monthly", "monthly", "biweekly"]),
        originated_on=originated_on,
        first_due_on=originated_on + timedelta(days=to_first),
        merchant_discount=Decimal(rng.randrange(principal // 5 + 1)).scaleb(-2),
        rules=rules,
    )
    a_cent_off = terms.instalment + Decimal(rng.choice(["0.00", "0.00", "0.00", "0.01", "-0.01"]))
    due_day = terms.due_day if terms.due_day < 28 else rng.choice(range(terms.due_day, 32))
    return replace(terms, instalment=max(a_cent_off, Decimal("0.01")), due_day=due_day)
