"""The feeds: their fields, and the limits that the lender's products put on them."""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

ID_PATTERN = "^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$"
"""What an identifier in a feed looks like. It admits no @ and no space, so that no name or address passes for one."""

LOAN_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "loan_id": "text",
        "user_id": "text",
        "merchant_id": "text",
        "borrower_email": "text",
        "borrower_state": "text",
        "product": "text",
        "principal": "money",
        "merchant_discount": "money",
        "apr": "rate",
        "instalments": "integer",
        "frequency": "text",
        "originated_on": "date",
        "first_due_on": "date",
        "currency": "text",
        "instalment": "money",
        "due_day": "integer",
    }
)
"""A file may lack any of them: its records then have no value there, and what reads them says whether they may."""

TRANSACTION_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "transaction_id": "text",
        "loan_id": "text",
        "merchant_id": "text",
        "kind": "text",
        "amount": "money",
        "effective_on": "date",
        "reverses": "text",
    }
)

ADJUSTMENT_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "adjustment_id": "text",
        "loan_id": "text",
        "kind": "text",
        "amount": "money",
        "effective_on": "date",
        "reason": "text",
        "approver": "text",
        "transaction_id": "text",
    }
)


MOST_APR = Decimal("36")
"""Percent. The Military Lending Act's limit (10 U.S.C. 987), which is also the product's."""

MOST_LOAN_CASH = Decimal("1000000.00")
"""More than a loan's principal and interest can come to."""

MOST_REASON = 200
"""Characters in which the reason for an adjustment is said."""

MOST_PAYOUT = Decimal("1000000000.00")
"""A merchant's day. Above it, the amount is taken for a mistake."""

MOST_DAYS_LATE = 3660
"""A date older than ten years before its business date is taken for a mistake: no loan is that long."""

MOST_DAYS_TO_FIRST_DUE = 366

LOOK_BACK_DAYS = 35
"""How far back a row is compared with those already booked; one whose own date is older, with all of them."""

# USPS Publication 28, appendix B: states, the District of Columbia, territories, armed forces.
STATES = tuple(
    "AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH "  # noqa: SIM905
    "OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY AS GU MP PR VI AA AE AP".split()
)
