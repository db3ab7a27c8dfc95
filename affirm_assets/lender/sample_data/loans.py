"""Who borrows what, from whom, on which terms. Each loan depends on the seed and its own number alone."""

from dataclasses import dataclass
from random import Random

from affirm_assets.lender.sample_data.draws import Weighted, between, happens, skewed
from affirm_assets.lender.sample_data.files import LoanRecord, money
from affirm_assets.lender.sample_data.window import SampleWindow
from affirm_assets.lender.vocabulary import Frequency, Product

MERCHANTS = 300

# A few merchants sell most of what is lent, as in any market.
_MERCHANTS = Weighted({merchant: 1_000_000 // (merchant + 8) for merchant in range(MERCHANTS)})
# The states and the capital by the code of the postal service, with their residents in hundred thousands.
_RESIDENTS = (
    "AL 51, AK 7, AZ 74, AR 31, CA 390, CO 59, CT 36, DE 10, DC 7, FL 226, GA 110, HI 14, ID 20, IL 125, "
    "IN 69, IA 32, KS 29, KY 45, LA 46, ME 14, MD 62, MA 70, MI 101, MN 57, MS 29, MO 62, MT 11, NE 20, "
    "NV 32, NH 14, NJ 93, NM 21, NY 196, NC 108, ND 8, OH 118, OK 41, OR 42, PA 130, RI 11, SC 54, SD 9, "
    "TN 71, TX 305, UT 34, VT 6, VA 87, WA 78, WV 18, WI 59, WY 6"
)
_STATES = Weighted({pair[:2]: int(pair[3:]) for pair in _RESIDENTS.split(", ")})
_INSTALMENTS = Weighted({3: 14, 6: 22, 12: 30, 18: 10, 24: 12, 36: 8, 48: 2, 60: 2})


@dataclass(frozen=True)
class Loan:
    """A loan as it was made. Amounts in cents, the rate in hundredths of a percent, days as numbers in the window."""

    number: int
    user: int
    merchant: int
    state: str
    product: Product
    principal: int
    discount: int
    apr: int
    instalments: int
    frequency: Frequency
    originated: int
    first_due: int
    landed: int

    @property
    def loan_id(self) -> str:
        return f"L{self.number:09d}"

    @property
    def merchant_id(self) -> str:
        return merchant_id(self.merchant)

    def record(self, window: SampleWindow) -> LoanRecord:
        return LoanRecord(
            loan_id=self.loan_id,
            user_id=f"U{self.user:07d}",
            merchant_id=self.merchant_id,
            borrower_email=f"user{self.user:07d}@example.com",
            borrower_state=self.state,
            product=self.product,
            principal=money(self.principal),
            merchant_discount=money(self.discount),
            apr=money(self.apr),
            instalments=self.instalments,
            frequency=self.frequency,
            originated_on=window.text(self.originated),
            first_due_on=window.text(self.first_due),
            currency="USD",
        )


def merchant_id(merchant: int) -> str:
    return f"M{merchant:04d}"


def make_loan(rng: Random, seed: int, number: int, originated: int, users: int) -> Loan:
    """Decide a loan. `users` is how many borrowers there are to choose from."""
    user = rng.randrange(users)
    merchant = _MERCHANTS.draw(rng)
    product: Product = "pay_in_4" if happens(rng, 550) else "installment"
    principal, apr, instalments, frequency = _terms(rng, product)
    return Loan(
        number=number,
        user=user,
        merchant=merchant,
        # Of the user's number, so that someone who borrows twice lives in one state.
        state=_STATES.at((user * 7919 + seed) % _STATES.total),
        product=product,
        principal=principal,
        discount=principal * _discount_rate(merchant, product) // 10_000,
        apr=apr,
        instalments=instalments,
        frequency=frequency,
        originated=originated,
        first_due=originated + (14 if frequency == "biweekly" else between(rng, 28, 45)),
        landed=originated + _landing_delay(rng, apr),
    )


def _terms(rng: Random, product: Product) -> tuple[int, int, int, Frequency]:
    if product == "pay_in_4":
        return skewed(rng, 20_00, 1_499_99), 0, 4, "biweekly"
    apr = 0 if happens(rng, 220) else 36_00 if happens(rng, 60) else between(rng, 4_00, 35_99)
    frequency: Frequency = "biweekly" if happens(rng, 150) else "monthly"
    return skewed(rng, 50_00, 29_999_99), apr, _INSTALMENTS.draw(rng), frequency


def _discount_rate(merchant: int, product: Product) -> int:
    """What the merchant gives up of the price, in hundredths of a percent. One in seven pays nothing."""
    if merchant % 7 == 6:
        return 0
    return 190 + merchant * 37 % 300 + (110 if product == "pay_in_4" else 0)


def _landing_delay(rng: Random, apr: int) -> int:
    if happens(rng, 20):
        return between(rng, 1, 5)
    # A month late, an interest-bearing loan would land after its own payments, whose split into interest and principal
    # is then the books' to decide and not foreseeable here.
    if apr == 0 and happens(rng, 4):
        return between(rng, 36, 50)
    return 0
