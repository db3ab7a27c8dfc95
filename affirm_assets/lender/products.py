"""The lender's products: what a loan of each can be, and the rules that its books follow. Nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import get_args

from affirm_assets.errors import DeclarationError
from affirm_assets.lender.finance.rules import Rules
from affirm_assets.lender.vocabulary import Product


@dataclass(frozen=True)
class ProductSettings:
    """What a loan of a product can be, both ends included; amounts in the books' currency. And the product's rules."""

    least_principal: Decimal
    most_principal: Decimal
    least_instalments: int
    most_instalments: int
    rules: Rules = field(default_factory=Rules)


def for_each_product(settings: Mapping[Product, ProductSettings]) -> Mapping[Product, ProductSettings]:
    """The settings. Raises DeclarationError if a product of the vocabulary has none, or if one is of no product."""
    if differing := sorted(set(get_args(Product)) ^ set(settings)):
        raise DeclarationError(
            f"{__file__}: expected settings for each product of lender.vocabulary.Product, and for no other; found a "
            f"difference in {', '.join(differing)}. Declare its limits and rules here."
        )
    return MappingProxyType(dict(settings))


PRODUCTS = for_each_product(
    {
        "pay_in_4": ProductSettings(Decimal("0.01"), Decimal("10000.00"), 4, 4),
        # Personal instalment loans reach $40,000 and 60 months in LendingClub's published book; ten years and $100,000
        # leave room for a product that is not written yet and still refuse a misplaced decimal point.
        "installment": ProductSettings(Decimal("0.01"), Decimal("100000.00"), 1, 120),
    }
)
