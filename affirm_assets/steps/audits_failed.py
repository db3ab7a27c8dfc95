"""What is said of a step whose audits refuse its rows: what failed, where, what readers see, what to do."""

from collections.abc import Mapping, Sequence
from datetime import date

from affirm_assets.declare.dataset import Dataset
from affirm_assets.errors import AffirmError
from affirm_assets.steps.audit import MASK, Outcome
from affirm_assets.steps.request import Request

_ROWS, _PARTITIONS = 3, 5  # to name of each audit: its check has more. Dagster's page shows a dozen lines at once


class AuditsFailed(AffirmError):
    """One blocking audit or more failed: readers see what they saw before.

    The message's first line names audits and partitions, and nothing of a row. `computed_from`: a digest of the
    code and of what was read for the first partition in which one failed.
    """

    def __init__(
        self, dataset: Dataset, request: Request, outcomes: tuple[Outcome, ...], kept: str, staged_snapshot: int | None
    ) -> None:
        """`kept` says where the refused rows can be looked at; `staged_snapshot` holds them, if they were written."""
        self.outcomes = outcomes
        self.staged_snapshot = staged_snapshot
        self.seen_snapshot = request.base
        failed = [each for each in outcomes if each.blocking and not each.passed]
        first = min((day for each in failed for day in each.failed_in), default=None)
        self.computed_from = request.computed_from(date.fromisoformat(first) if first else None)
        found = "\n".join(f"- {_finding(each)}" for each in failed)
        sees = f"snapshot {request.base}" if request.base else "no rows, as nothing was published of it"
        instead = (
            " (or do what run_instead says)" if any("run_instead" in row for e in failed for row in e.sample) else ""
        )
        super().__init__(
            f"{dataset} {request.window_text}: nothing was published, as {_names(failed)}.\n"
            f"Readers still see {sees}, as before this run.\n"
            f"What to do: mend what these rows come from{instead}, and run {dataset} {request.window_text} again. "
            f"What reads it waits until then.\n{found}\n{kept}"
        )


def _names(failed: Sequence[Outcome]) -> str:
    """As in `few_are_refused failed in 2025-01-03`."""
    return ", ".join(f"{each.name} failed{_where(each)}" for each in failed)


def _where(outcome: Outcome) -> str:
    days = list(outcome.failed_in)
    more = f" and {len(days) - _PARTITIONS} more" if len(days) > _PARTITIONS else ""
    return f" in {', '.join(days[:_PARTITIONS])}{more}" if days else ""


def _finding(outcome: Outcome) -> str:
    rows = [f"    {_row(each)}" for each in outcome.sample[:_ROWS]]
    counts = f"{outcome.name}: {outcome.failed:,} of {outcome.checked:,} failed ({outcome.description})"
    return "\n".join([counts + ("; such as" if rows else ""), *rows])


def _row(row: Mapping[str, str | None]) -> str:
    """Without what is masked: it would say nothing."""
    return ", ".join(f"{name}={'null' if value is None else value}" for name, value in row.items() if value != MASK)
