"""Each product has its settings, and no rule is out of its range."""

from decimal import Decimal
from typing import Any

import pytest

from affirm_assets.errors import DeclarationError
from affirm_assets.lender.finance.rules import Rules
from affirm_assets.lender.products import PRODUCTS, for_each_product


def test_a_product_without_settings_is_named() -> None:
    without = {name: settings for name, settings in PRODUCTS.items() if name != "pay_in_4"}
    with pytest.raises(DeclarationError, match=r"products\.py: .* found a difference in pay_in_4\. Declare"):
        for_each_product(without)


def test_settings_of_no_product_are_named() -> None:
    with pytest.raises(DeclarationError, match="layaway"):
        for_each_product({**PRODUCTS, "layaway": PRODUCTS["pay_in_4"]})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "rule",
    [
        {"instalment_met_at": Decimal("89.99")},
        {"instalment_met_at": Decimal("100.01")},
        {"instalment_met_at": Decimal("97.255")},
        {"shortages_carried": Decimal("-0.01")},
        {"waived_below": Decimal("-0.01")},
    ],
)
def test_a_rule_out_of_its_range_is_refused(rule: dict[str, Any]) -> None:
    [(name, value)] = rule.items()
    with pytest.raises(ValueError, match=f"{name}={value}: expected"):
        Rules(**rule)
