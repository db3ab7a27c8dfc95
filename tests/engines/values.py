"""The values that expressions are tried on: what breaks engines, and seeded random ones between."""

import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

ROWS = 260

DECIMALS: Mapping[str, tuple[int, int]] = {
    "m": (18, 2),
    "m2": (18, 2),
    "r": (9, 6),
    "r2": (9, 6),
    "q": (10, 4),
    "q2": (10, 4),
    "w": (28, 2),
    "w2": (28, 2),
    "v": (38, 2),
    "v2": (38, 2),
    "x": (38, 10),
    "x2": (38, 10),
    "y": (38, 0),
    "y2": (38, 0),
}
INTEGERS: Mapping[str, int] = {"h": 16, "h2": 16, "k": 32, "k2": 32, "n": 64, "n2": 64, "c": 8, "c2": 8}

TEXTS = (
    *(
        "",
        " ",
        "a",
        "A",
        "b",
        "ab",
        "a b",
        "z",
        "ä",
        "Ä",
        "é",
        "e\u0301",
        "ß",
        "ss",
        "日本",
        "🙂",
        "🙂🙂",
        "\U0001f468\u200d\U0001f469",
    ),
    *("L1", "L1\n", "\nL1", "L1\r", "L1\r\n", "L1\u0085", "L1\u2028", "L1\x00", " L1 ", "L1\u00a0", "l1"),
    *("a@b.c", "a\u00a0b@c", "a b@c", "a@b@c", "@", "x" * 64, "x" * 65, "🙂" * 64, "O'Neil", 'say "hi"', "back\\slash"),
    *("İstanbul", "ΟΔΟΣ", "ﬁ", "ŉ", "ǆ", "ŠČ", "\ta\t", "  b", "a_b", "a%b", "c  "),
    *(
        "0",
        "-0",
        "-0.00",
        "007",
        "12",
        "-12",
        "1.5",
        "1.50",
        "1.005",
        "-.5",
        "5.",
        "+5",
        "1e3",
        "1,000",
        " 12 ",
        "12\n",
    ),
    *("9999999999999999.99", "-9999999999999999.99", "99999999999999999", "999999999", "-999999999", "9999999999"),
    *("١٢", "１２", "NaN", "Infinity", "true", "null", "999.999999", "-999.999999", "1000", "0.0000001", "14.99"),
    *("2025-01-31", "2025-02-29", "2024-02-29", "2025-02-30", "2025-13-01", "2025-00-10", "0000-01-01", "0001-01-01"),
    *("9999-12-31", "1582-10-10", "1900-02-29", "2025-1-1", "2025-01-31T00:00", "2025-01-31 ", "٢٠٢٥-01-01"),
)
DATES = (
    *(date(1, 1, 1), date(1, 12, 31), date(1582, 10, 4), date(1582, 10, 10), date(1582, 10, 15), date(1677, 9, 21)),
    *(date(1677, 9, 23), date(1900, 2, 28), date(1900, 3, 1), date(1969, 12, 31), date(1970, 1, 1), date(2000, 2, 29)),
    *(date(2023, 12, 31), date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 31), date(2025, 1, 1), date(2025, 1, 31)),
    *(date(2025, 2, 28), date(2025, 3, 1), date(2262, 4, 11), date(2262, 4, 12), date(9999, 12, 1), date(9999, 12, 31)),
)
STAMPS = (
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1582, 10, 10, 12, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2025, 3, 9, 7, 30, tzinfo=UTC),
    datetime(2025, 11, 2, 6, 30, 0, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
)


def _decimals(precision: int, scale: int, chance: random.Random) -> list[Decimal]:
    """Limits, their neighbours, the least units, halves of each place, and numbers of every length."""
    most, one = 10**precision - 1, 10**scale
    units = {0, 1, 2, 3, 5, 7, most, most - 1, most // 2, most // 3, one, 12 * one, 100 * one, 365 * one}
    units |= {5 * 10**place for place in range(min(scale + 2, precision))}
    units |= {one + 5 * 10**place for place in range(scale)} | {2 * one + 5 * 10**place for place in range(scale)}
    units |= {chance.randrange(10 ** chance.randint(1, precision)) for _ in range(12)}
    kept = [unit for unit in units if unit <= most]
    # Not by scaleb, which rounds to the 28 digits of Python's context.
    return [Decimal((sign, tuple(map(int, str(unit))), -scale)) for unit in kept for sign in (0, 1) if unit or not sign]


def _integers(bits: int, chance: random.Random) -> list[int]:
    most = 2 ** (bits - 1) - 1
    around = [
        0,
        1,
        2,
        3,
        7,
        10,
        12,
        100,
        365,
        most,
        most - 1,
        most // 2,
        most // 2 + 1,
        int(most**0.5),
        int(most**0.5) + 1,
    ]
    around = [each for each in around if each <= most]
    drawn = [chance.randrange(2 ** chance.randint(1, bits - 1)) for _ in range(12)]
    return [*around, *(-each for each in around), -most - 1, *drawn, *(-each for each in drawn)]


def _column(values: Sequence[Any], kind: pa.DataType, chance: random.Random, rows: int = ROWS) -> pa.Array:
    """Each value once, then any of them, one in nine null."""
    shuffled = chance.sample(list(values), len(values))[:rows]
    more = [None if chance.random() < 0.11 else chance.choice(values) for _ in range(rows - len(shuffled))]
    return pa.array(shuffled + more, kind)


def single_values() -> pa.Table:
    """A row is one value of each type, each independent of the others; `i` numbers them."""
    chance = random.Random("expressions")
    columns: dict[str, pa.Array] = {"i": pa.array(range(ROWS), pa.int64())}
    for name, (precision, scale) in DECIMALS.items():
        columns[name] = _column(_decimals(precision, scale, chance), pa.decimal128(precision, scale), chance)
    for name, bits in INTEGERS.items():
        columns[name] = _column(_integers(bits, chance), getattr(pa, f"int{bits}")(), chance)
    for name in ("s", "s2", "s3"):
        columns[name] = _column(TEXTS, pa.string(), chance)
    for name in ("d", "d2", "d3"):
        columns[name] = _column(DATES, pa.date32(), chance)
    for name in ("t", "t2"):
        columns[name] = _column(STAMPS, pa.timestamp("us", tz="UTC"), chance)
    for name in ("b", "b2", "b3"):
        columns[name] = _column([True, False], pa.bool_(), chance)
    columns["f"] = _column([0.0, -0.0, 1.5, float("inf"), float("nan")], pa.float64(), chance)
    columns["year"] = _column([1, 1582, 1900, 2024, 2025, 9999], pa.int32(), chance)
    columns["month"] = _column([*range(1, 13)], pa.int32(), chance)
    columns["day"] = _column([1, 28, 29, 30, 31], pa.int32(), chance)
    return pa.table(columns)


ENTRY = pa.struct([("day", pa.date32()), ("amount", pa.decimal128(18, 2)), ("name", pa.string())])


def _entries(chance: random.Random) -> list[list[dict[str, Any] | None] | None]:
    """Arrays of structs: empty, null, with null elements and null fields, with ties."""

    def entry() -> dict[str, Any] | None:
        if chance.random() < 0.1:
            return None
        return {
            "day": chance.choice([date(2024, 2, 29), date(2025, 1, 1), date(1582, 10, 10)]),
            "amount": chance.choice([None, Decimal("0.00"), Decimal("-1.50"), Decimal("9999999999999999.99")]),
            "name": chance.choice([None, "", "a", "B", "ä", "🙂"]),
        }

    return [None, [], [None], *([entry() for _ in range(chance.randint(1, 6))] for _ in range(30))]


def collections() -> pa.Table:
    """Arrays and structs. In `sure` no field of an element is null."""
    chance = random.Random("collections")
    rows = 90
    longs = [None, [], [None], [1], [3, 1, 2], [2, None, 1, 2], [2**63 - 1, 1], [-(2**63), -1]]
    entries = _entries(chance)
    sure = [each and [one for one in each if one and None not in one.values()] for each in entries]
    return pa.table(
        {
            "i": pa.array(range(rows), pa.int64()),
            "longs": _column(longs, pa.list_(pa.int64()), chance, rows),
            "texts": _column([None, [], ["a"], ["b", None, "ä", "B", ""]], pa.list_(pa.string()), chance, rows),
            "days": _column([None, [], [date(2025, 1, 2), None, date(1, 1, 1)]], pa.list_(pa.date32()), chance, rows),
            "entries": _column(entries, pa.list_(ENTRY), chance, rows),
            "sure": _column(sure, pa.list_(ENTRY), chance, rows),
            "one": _column([one for each in entries if each for one in each], ENTRY, chance, rows),
            "n": _column([0, 1, 2, -1, 5], pa.int64(), chance, rows),
            "m": _column([Decimal("0.00"), Decimal("-1.50"), Decimal("2.25")], pa.decimal128(18, 2), chance, rows),
            "s": _column(["", "a", "B", "ä"], pa.string(), chance, rows),
            "d": _column([date(2025, 1, 30), date(2024, 2, 28)], pa.date32(), chance, rows),
            "e": _column([date(2025, 1, 31), date(2024, 3, 1), date(2025, 2, 1)], pa.date32(), chance, rows),
            "f": _column([0.0, -1.5], pa.float64(), chance, rows),
        }
    )


def groups() -> pa.Table:
    """Rows to group by `g` (also null, and with groups of nulls only) and `h`; `at` orders them, each differently."""
    chance = random.Random("groups")
    rows = 220
    keys = [chance.choice([None, "a", "b", "ä", "B", "", "nulls"]) for _ in range(rows)]

    def column(values: Iterable[Any], kind: pa.DataType) -> pa.Array:
        choices = list(values)
        return pa.array(
            [None if key == "nulls" or chance.random() < 0.2 else chance.choice(choices) for key in keys], kind
        )

    money = [
        Decimal(each) for each in ("0.00", "0.01", "-0.01", "9999999999999999.99", "-9999999999999999.99", "33.33")
    ]
    return pa.table(
        {
            "i": pa.array(range(rows), pa.int64()),
            "at": pa.array(chance.sample(range(rows), rows), pa.int64()),
            "g": pa.array(keys, pa.string()),
            "h": column([1, 2, 3], pa.int32()),
            "c": column([0, 1, -1, 127, -128], pa.int8()),
            "z": column([0, 1, -1, 2**15 - 1, -(2**15)], pa.int16()),
            "k": column([0, 1, -1, 2**31 - 1, -(2**31)], pa.int32()),
            "n": column([0, 1, -1, 2**40, -(2**40), 2**53 + 1], pa.int64()),
            "m": column(money, pa.decimal128(18, 2)),
            "r": column([Decimal("0.000001"), Decimal("-14.990000"), Decimal("999.999999")], pa.decimal128(9, 6)),
            "w": column([*money, Decimal("9" * 26 + ".99")], pa.decimal128(28, 2)),
            "v": column([*money, Decimal("1" * 33 + ".99")], pa.decimal128(38, 2)),
            "s": column(TEXTS, pa.string()),
            "d": column(DATES, pa.date32()),
            "t": column(STAMPS, pa.timestamp("us", tz="UTC")),
            "b": column([True, False], pa.bool_()),
            "f": column([0.0, -1.5], pa.float64()),
            "longs": column([[], [None], [1, 2]], pa.list_(pa.int64())),
            "one": column([{"day": date(2025, 1, 1), "amount": None, "name": "ä"}], ENTRY),
        }
    )


def others() -> pa.Table:
    """To join with `groups`: some of its keys, null too, some twice, and keys that it has not."""
    return pa.table(
        {
            "g": pa.array([None, "a", "a", "b", "c", None, "ä", ""], pa.string()),
            "h": pa.array([1, 1, 2, None, 3, None, 2, 3], pa.int32()),
            "other": pa.array([1, 2, 3, 4, 5, 6, 7, 8], pa.int64()),
            "m": pa.array([Decimal("1.00"), None, Decimal("3.00")] * 2 + [None, Decimal("8.00")], pa.decimal128(18, 2)),
        }
    )


FRAMES = {"values": single_values, "collections": collections, "groups": groups, "others": others}
