"""The rates of expected losses: each product and bucket once, from 0 to 100 percent; anything else is refused."""

from decimal import Decimal
from pathlib import Path

import pytest

from affirm_assets.errors import DeclarationError
from affirm_assets.lender.expected_losses import EXPECTED_LOSSES, read_rates
from affirm_assets.lender.vocabulary import OPEN_BUCKETS, PRODUCT_NAMES

HEADER = "product,bucket,percent"
RATES = [f"{product},{bucket},{number}.5" for product in PRODUCT_NAMES for number, bucket in enumerate(OPEN_BUCKETS)]


def read(folder: Path, *lines: str) -> dict[tuple[str, str], Decimal]:
    file = folder / "rates.csv"
    file.write_text("".join(f"{line}\n" for line in lines))
    return dict(read_rates(file))


def test_rates_are_read_by_product_and_bucket(tmp_path: Path) -> None:
    found = read(tmp_path, HEADER, *RATES)
    assert len(found) == len(PRODUCT_NAMES) * len(OPEN_BUCKETS)
    assert found["installment", "60-89"] == Decimal("3.5")


@pytest.mark.parametrize("percent", ["0", "100", "100.000000", "0.000001"])
def test_percent_is_from_0_to_100(tmp_path: Path, percent: str) -> None:
    assert read(tmp_path, HEADER, f"pay_in_4,current,{percent}", *RATES[1:])["pay_in_4", "current"] == Decimal(percent)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        pytest.param("pay_in_4,1-29,100.000001", "'100.000001'", id="more than 100"),
        pytest.param("pay_in_4,1-29,-1", "'-1'", id="less than 0"),
        pytest.param("pay_in_4,1-29,0.0000001", "'0.0000001'", id="too fine"),
        pytest.param("pay_in_4,1-29,1e1", "'1e1'", id="exponent"),
        pytest.param("pay_in_4,1-29,NaN", "'NaN'", id="no number"),
        pytest.param("pay_in_4,1-29,\uff11", "'\uff11'", id="another script's digit"),
        pytest.param("pay_in_4,1-29, 1", "' 1'", id="blank"),
        pytest.param("pay_in_4,1-29,", "''", id="empty"),
        pytest.param("pay_in_5,1-29,1", "'pay_in_5'", id="unknown product"),
        pytest.param("pay_in_4,charged_off,1", "'charged_off'", id="a bucket that owes nothing"),
        pytest.param("pay_in_4,1-29", "'pay_in_4,1-29'", id="a field too few"),
        pytest.param("pay_in_4,1-29,1,2", "'pay_in_4,1-29,1,2'", id="a field too many"),
        pytest.param("", "''", id="an empty line"),
        pytest.param("pay_in_4,current,2", "pay_in_4,current again", id="twice"),
    ],
)
def test_a_line_that_is_wrong_is_refused_with_its_place(tmp_path: Path, line: str, found: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        read(tmp_path, HEADER, RATES[0], line, *RATES[2:])
    assert f"{tmp_path}/rates.csv:3: expected " in str(caught.value)
    assert found in str(caught.value)


def test_a_missing_rate_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"rates\.csv:10: .*found none of pay_in_4,1-29\.$"):
        read(tmp_path, HEADER, RATES[0], *RATES[2:])


@pytest.mark.parametrize("lines", [[], ["bucket,product,percent", *RATES], RATES], ids=["empty", "other order", "none"])
def test_a_file_without_its_header_is_refused(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(DeclarationError, match=r"rates\.csv:1: expected the header product,bucket,percent"):
        read(tmp_path, *lines)


def test_what_is_later_is_likelier_to_be_lost() -> None:
    for product in PRODUCT_NAMES:
        rates = [EXPECTED_LOSSES[product, bucket] for bucket in OPEN_BUCKETS]
        assert rates == sorted(rates)
