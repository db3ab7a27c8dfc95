"""Two projects of so many datasets, one file each: declared for this platform, and written in plain Dagster.

Both have, of each dataset: an asset with a description, owner, group, kind, tag, code version, retries, a pod's size;
daily partitions; two inputs, or one; twelve columns with types, descriptions and constraints; seven checks. One dataset
in fifty reads a feed and has an input that arrives from outside.

The plain one has no more than Dagster needs: its partitions are one shared value, its code version is a constant, its
checks are specifications without functions, no condition of automation, no sensors and no schedules. The platform's has
what its users have: contracts, functions of audits, sensors, schedules of deadlines, versions of the code.
"""

from pathlib import Path

EVERY_SO_MANY_A_FEED = 50
_DOMAINS = 25

_DECLARED = '''"""{name}: a table of the benchmark."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare import Contract, Daily, Money, Rate, audit, column, dataset, key{imports}

Exact = Annotated[Decimal, Field(max_digits=18, decimal_places=8)]


class Row{number}(Contract):
    """One loan on one day."""

    loan_id: str = key("Loan", pattern=r"^L[0-9]+$")
    as_of: date = key("Business date")
    product: Literal["pay_in_4", "monthly"] = column("Product")
    opened_on: date = column("Day on which it was opened")
    instalments: int = column("Number of instalments", ge=1, le=60)
    principal: Money = column("Principal owed", ge=0)
    interest: Money = column("Interest owed", ge=0)
    paid: Money = column("What was paid of it")
    apr: Rate = column("Annual percentage rate in percent", ge=0)
    accrued: Exact = column("Interest before rounding")
    state: str | None = column("State of the borrower", min_length=2, max_length=2)
    closed_on: date | None = column("Day on which it was paid off"){more}


@audit()
def totals_are_equal(staged: DataFrame, {first}: DataFrame) -> DataFrame:
    """Principal of each day equals that of the input, to the cent."""
    expected = {first}.groupBy("as_of").agg(F.sum("principal").alias("expected"))
    found = staged.groupBy("as_of").agg(F.sum("principal").alias("found"))
    return found.join(expected, "as_of").select("as_of", (F.col("found") == F.col("expected")).alias("ok"))


@audit(blocking=False)
def most_are_open(staged: DataFrame) -> DataFrame:
    """Most loans of a day are open."""
    return staged.groupBy("as_of").agg((F.avg(F.col("closed_on").isNull().cast("int")) > 0.5).alias("ok"))


@dataset(
    Row{number},
    partitions=Daily("as_of"),
    audits=[totals_are_equal, most_are_open],
    owner="team:finance",
    freshness="06:30 next business day",
    tags={{"tier": "1"}},{inputs}
)
def {name}({parameters}) -> DataFrame:
    """What each loan of the book owes at the end of each day."""
    return {first}.where(F.col("principal") >= 0)
'''

_PLAIN = '''"""{name}: a table of the benchmark."""

import dagster as dg

from {package}._shared import DAILY, POD, RETRIES, Lake

KEY = dg.AssetKey(["{domain}", "{name}"])


@dg.asset(
    key=KEY,
    deps=[{deps}],
    group_name="{domain}",
    owners=["team:finance"],
    kinds={{"iceberg"}},
    code_version="1",
    tags={{"tier": "1", "compute": "small"}},
    metadata={{
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn(
                    "loan_id",
                    "string",
                    "Loan",
                    dg.TableColumnConstraints(nullable=False, other=["key", "loan_id matches ^L[0-9]+$"]),
                ),
                dg.TableColumn(
                    "as_of", "date", "Business date", dg.TableColumnConstraints(nullable=False, other=["key"])
                ),
                dg.TableColumn(
                    "product",
                    "string",
                    "Product",
                    dg.TableColumnConstraints(nullable=False, other=["product is one of pay_in_4, monthly"]),
                ),
                dg.TableColumn(
                    "opened_on", "date", "Day on which it was opened", dg.TableColumnConstraints(nullable=False)
                ),
                dg.TableColumn(
                    "instalments",
                    "long",
                    "Number of instalments",
                    dg.TableColumnConstraints(nullable=False, other=["instalments >= 1", "instalments <= 60"]),
                ),
                dg.TableColumn(
                    "principal",
                    "decimal(18, 2)",
                    "Principal owed",
                    dg.TableColumnConstraints(nullable=False, other=["principal >= 0"]),
                ),
                dg.TableColumn(
                    "interest",
                    "decimal(18, 2)",
                    "Interest owed",
                    dg.TableColumnConstraints(nullable=False, other=["interest >= 0"]),
                ),
                dg.TableColumn(
                    "paid", "decimal(18, 2)", "What was paid of it", dg.TableColumnConstraints(nullable=False)
                ),
                dg.TableColumn(
                    "apr",
                    "decimal(9, 6)",
                    "Annual percentage rate in percent",
                    dg.TableColumnConstraints(nullable=False, other=["apr >= 0"]),
                ),
                dg.TableColumn(
                    "accrued",
                    "decimal(18, 8)",
                    "Interest before rounding",
                    dg.TableColumnConstraints(nullable=False),
                ),
                dg.TableColumn(
                    "state",
                    "string",
                    "State of the borrower",
                    dg.TableColumnConstraints(
                        other=["state has 2 characters or more", "state has 2 characters or fewer"]
                    ),
                ),
                dg.TableColumn("closed_on", "date", "Day on which it was paid off"),
            ]
        ),
        "dagster/table_name": "{domain}.{name}",
        "dagster/storage_kind": "iceberg",
    }},
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=RETRIES,
    op_tags=POD,
    check_specs=[
        dg.AssetCheckSpec(
            "contract",
            asset=KEY,
            description="What each row may hold: 13 constraints of Row{number}.",
            blocking=True,
            partitions_def=DAILY,
        ),
        dg.AssetCheckSpec(
            "control_totals",
            asset=KEY,
            description="A second reader finds as many rows and the same sums.",
            blocking=True,
            partitions_def=DAILY,
        ),
        dg.AssetCheckSpec(
            "keys_are_unique",
            asset=KEY,
            description="No two rows share loan_id and as_of.",
            blocking=True,
            partitions_def=DAILY,
        ),
        dg.AssetCheckSpec(
            "totals_are_equal",
            asset=KEY,
            description="Principal of each day equals that of the input, to the cent.",
            blocking=True,
            partitions_def=DAILY,
        ),
        dg.AssetCheckSpec(
            "most_are_open", asset=KEY, description="Most loans of a day are open.", partitions_def=DAILY
        ),
        dg.AssetCheckSpec("fresh", asset=KEY, description="The newest date that is due is published."),
        dg.AssetCheckSpec("complete", asset=KEY, description="Nothing is left failed or missing."),
    ],
)
def {name}(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
    """What each loan of the book owes at the end of each day."""
    return lake.compute(context)
'''

_PLAIN_SHARED = """import warnings

import dagster as dg

warnings.simplefilter("ignore", dg.PreviewWarning)
warnings.simplefilter("ignore", dg.BetaWarning)

DAILY = dg.DailyPartitionsDefinition("2025-01-01", timezone="America/New_York", end_offset=1)
RETRIES = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)
POD = {
    "dagster-k8s/config": {
        "container_config": {
            "resources": {"requests": {"cpu": "2000m", "memory": "3072Mi"}, "limits": {"memory": "3072Mi"}},
            "env": [{"name": "SPARK_LOCAL_DIRS", "value": "/scratch"}],
            "volume_mounts": [{"name": "scratch", "mount_path": "/scratch"}],
        },
        "pod_spec_config": {"volumes": [{"name": "scratch", "empty_dir": {"size_limit": "10240Mi"}}]},
    }
}


class Lake(dg.ConfigurableResource[None]):
    warehouse: str

    def compute(self, context: dg.AssetExecutionContext) -> dg.MaterializeResult: ...
"""

_PLAIN_DEFS = """import dagster as dg

import {package}
from {package}._shared import DAILY, Lake

FEEDS = [dg.AssetSpec(["feeds", name], kinds={{"file"}}, partitions_def=DAILY) for name in {feeds}]

defs = dg.Definitions(
    assets=[*FEEDS, *dg.load_assets_from_package_module({package})],
    resources={{"lake": Lake(warehouse="lake")}},
    executor=dg.in_process_executor,
)
"""

_DECLARED_DEFS = """from datetime import date
from pathlib import Path

import {package}
from affirm_assets import collector
from affirm_assets.declare.registry import Registry
from affirm_assets.definitions import build_defs
from affirm_assets.settings import Settings

FIRST = date(2025, 1, 1)
SETTINGS = Settings.local(Path({lake!r}), FIRST)

with collector.loading():
    defs = build_defs(SETTINGS, Registry.walk({package}))
"""

_FIELDS = """
    file: str | None = column("File of the landing zone")
    problem: str | None = column("Why it is no record")
    raw: str | None = column("Its text", pii="direct")
"""


def declared(root: Path, count: int) -> None:
    """Writes the package `declared` and, beside it, `declared_definitions.py` with the code location."""
    for number in range(count):
        name, domain = _name(number), _domain(number)
        inputs = {} if _is_fed(number) else {_name(each): each for each in _inputs(number)}
        first = "records" if _is_fed(number) else next(iter(inputs))
        names = ", ".join(f'"{each}": "text"' for each in ("loan_id", "as_of", "principal"))
        fed = f'\n    inputs={{"records": landing("feed_{number}", {{{names}}}, due="05:00 next business day")}},'
        _write(
            root / "declared" / domain / f"{name}.py",
            _DECLARED.format(
                name=name,
                number=number,
                first=first,
                parameters=", ".join(f"{each}: DataFrame" for each in inputs or [first]),
                imports=", landing" if _is_fed(number) else "",
                inputs=fed if _is_fed(number) else "",
                more=_FIELDS.rstrip() if _is_fed(number) else "",
            ),
        )
    _packages(root / "declared")
    defs = _DECLARED_DEFS.format(package="declared", lake=str(root / "lake"))
    _write(root / "declared_definitions.py", defs)


def plain(root: Path, count: int) -> None:
    """Writes the package `plain` and, beside it, `plain_definitions.py` with the code location."""
    for number in range(count):
        keys = [("feeds", f"feed_{number}")] if _is_fed(number) else [(_domain(n), _name(n)) for n in _inputs(number)]
        _write(
            root / "plain" / _domain(number) / f"{_name(number)}.py",
            _PLAIN.format(
                package="plain",
                name=_name(number),
                domain=_domain(number),
                number=number,
                deps=", ".join(f'dg.AssetKey(["{domain}", "{name}"])' for domain, name in keys),
            ),
        )
    _packages(root / "plain")
    _write(root / "plain" / "_shared.py", _PLAIN_SHARED)
    feeds = [f"feed_{number}" for number in range(count) if _is_fed(number)]
    _write(root / "plain_definitions.py", _PLAIN_DEFS.format(package="plain", feeds=feeds))


def _is_fed(number: int) -> bool:
    return number % EVERY_SO_MANY_A_FEED == 0


def _inputs(number: int) -> list[int]:
    """The one before it, and one from far before: chains are as long as EVERY_SO_MANY_A_FEED."""
    return sorted({number - 1, number // EVERY_SO_MANY_A_FEED * EVERY_SO_MANY_A_FEED})


def _name(number: int) -> str:
    return f"table_{number:05}"


def _domain(number: int) -> str:
    return "landing" if _is_fed(number) else f"domain_{number % _DOMAINS:02}"


def _packages(root: Path) -> None:
    for folder in (root, *(each for each in root.iterdir() if each.is_dir())):
        _write(folder / "__init__.py", "")


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
