"""What audits found, as Dagster's asset checks: by partition, in as few events as there are things to tell apart.

An event for each of 180 partitions and 20 checks would cost more than the step. So neighbouring partitions that have
one outcome share an event, whose partition is a range; resources/checks_by_partition.py reads it as partitions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby
from typing import Any

import dagster as dg

from affirm_assets.declare.dataset import CONTRACT, Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.orchestration.partitions import asset_key
from affirm_assets.orchestration.row_tables import table_of
from affirm_assets.steps.audit import AuditSpec, Outcome, audit_specs
from affirm_assets.steps.audits_failed import AuditsFailed
from resources.checks_by_partition import range_key

COMPUTED_FROM = "computed_from"
"""In the metadata of a step's failure, if audits failed: a digest of code and input, which names the cause."""


@dataclass(frozen=True)
class Stretch:
    """Neighbouring partitions with one outcome; no days: the dataset has no partitions."""

    days: tuple[date, ...]
    passed: bool

    @property
    def partition(self) -> str | None:
        return range_key(str(self.days[0]), str(self.days[-1])) if self.days else None


def check_specs(dataset: Dataset, partitions: dg.PartitionsDefinition[str] | None) -> Iterator[dg.AssetCheckSpec]:
    """A check for each audit, but one for all that are of single rows: they are many, and rarely what fails."""
    specs = audit_specs(dataset)
    shown = f"What each row may hold: {sum(each.of_rows for each in specs)} constraints of {dataset.contract.__name__}."
    for each in (AuditSpec(CONTRACT, shown), *(each for each in specs if not each.of_rows)):
        yield dg.AssetCheckSpec(
            each.name,
            asset=asset_key(dataset),
            description=each.description,
            blocking=each.blocking,
            partitions_def=partitions,
        )


def check_events(
    dataset: Dataset, window: Window | None, outcomes: Sequence[Outcome], outputs: Mapping[str, str]
) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
    """As check_specs has them; `outputs`: by check, the output of the step that stands for it.

    What failed comes last, so that Dagster shows it as the latest.
    """
    starts = tuple(dataset.partitions.starts(window)) if dataset.partitions and window else ()
    of_rows = [each for each in outcomes if each.of_rows]
    groups = ([of_rows] if of_rows else []) + [[each] for each in outcomes if not each.of_rows]
    for group in groups:
        name = CONTRACT if group[0].of_rows else group[0].name
        # AssetCheckResult is of one partition, or of a whole run: what it would be made into is said here.
        yield dg.Output(None, outputs[name])
        for stretch in stretches(starts, group):
            is_part = len(stretch.days) < len(starts)
            found = [_of_days(dataset, each, stretch) for each in group] if is_part else group
            yield _evaluation(dataset, name, stretch, found)


def failure_of(refused: AuditsFailed) -> dg.Failure:
    """Above all else on a run's page. It is final: bad data does not get better by waiting."""
    snapshots = {"readers_see": refused.seen_snapshot, "refused_rows": refused.staged_snapshot}
    shown = {name: f"snapshot {each}" for name, each in snapshots.items() if each is not None}
    return dg.Failure(str(refused), metadata={**shown, COMPUTED_FROM: refused.computed_from}, allow_retries=False)


def stretches(starts: Sequence[date], outcomes: Sequence[Outcome]) -> list[Stretch]:
    """Those that passed, then those that failed. If nobody can say where an audit failed, it did in all of them."""
    failed = [each for each in outcomes if not each.passed]
    days = {date.fromisoformat(day) for each in failed for day in each.failed_in}
    if not starts or not failed or any(not each.failed_in for each in failed) or not days <= set(starts):
        return [Stretch(tuple(starts), not failed)]
    found = [Stretch(tuple(run), not is_red) for is_red, run in groupby(starts, key=days.__contains__)]
    return sorted(found, key=lambda each: not each.passed)


def _of_days(dataset: Dataset, outcome: Outcome, stretch: Stretch) -> Outcome:
    """What the audit found of these partitions; how many it checked is known of the window only."""
    column = dataset.partitions.column if dataset.partitions else ""
    days = {str(day) for day in stretch.days}
    failed = sum(count for day, count in outcome.failed_in.items() if day in days)
    sample = tuple(row for row in outcome.sample if row.get(column) in days or column not in row) if failed else ()
    return replace(outcome, passed=not failed, failed=failed, sample=sample)


def _evaluation(dataset: Dataset, name: str, stretch: Stretch, outcomes: Sequence[Outcome]) -> dg.AssetCheckEvaluation:
    one = outcomes[0]
    is_contract = name == CONTRACT
    return dg.AssetCheckEvaluation(
        asset_key=asset_key(dataset),
        check_name=name,
        passed=stretch.passed,
        partition=stretch.partition,
        metadata=_of_constraints(outcomes) if is_contract else _of_audit(one),
        severity=dg.AssetCheckSeverity.ERROR if one.blocking else dg.AssetCheckSeverity.WARN,
        description=None if is_contract else one.description,
        blocking=one.blocking,
    )


def _of_audit(outcome: Outcome) -> dict[str, Any]:
    return {
        "checked": outcome.checked,
        "failed": outcome.failed,
        **({"totals": dg.MetadataValue.json(dict(outcome.totals))} if outcome.totals else {}),
        **({"sample": table_of(outcome.sample)} if outcome.sample else {}),
    }


def _of_constraints(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What is broken first."""
    return {
        "checked": max(each.checked for each in outcomes),
        "failed": sum(each.failed for each in outcomes),
        "constraints": table_of(
            [
                {
                    "constraint": each.name,
                    "rule": each.description,
                    "checked": f"{each.checked:,}",
                    "failed": f"{each.failed:,}",
                    "keys": "; ".join(
                        ", ".join(f"{name}={value}" for name, value in row.items()) for row in each.sample
                    ),
                }
                for each in sorted(outcomes, key=lambda each: each.passed)
            ]
        ),
    }
