"""One class for each way to fail. A message names the thing, what was expected, what was found, what to do."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any


class AffirmError(Exception):
    """Anything that this platform refuses or fails at."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickle would call the class with the message alone: a pool of processes waits for ever for such an error.
        return _restored, (type(self), str(self), self.__dict__)


def _restored(kind: type[AffirmError], message: str, attributes: Mapping[str, Any]) -> AffirmError:
    error = kind.__new__(kind, message)
    error.__dict__.update(attributes)
    return error


class ContractError(AffirmError):
    """A contract that cannot be declared: raised when its module is imported."""


class DeclarationError(AffirmError):
    """A dataset, mapping or audit that cannot be declared: raised when its module is imported."""


class SettingError(AffirmError):
    """A setting of the environment whose value is unknown or malformed."""

    def __init__(self, name: str, found: str, expected: str) -> None:
        super().__init__(f"{name}: expected {expected}; found {found}. Mend {name} in the environment.")


class LakeFileError(AffirmError):
    """A file of ours in a lake or a landing zone that is missing or malformed."""

    def __init__(self, file: str, expected: str, found: str, remedy: str) -> None:
        super().__init__(f"{file}: expected {expected}; found {found}. {remedy}")


class SampleDateRefused(AffirmError):
    """Dates that a sample cannot have: not begun, or beside the first business date of the lake."""


class SettingsMissing(AffirmError):
    """Settings that a deployment cannot do without. `missing`: name of the variable -> what it is."""

    def __init__(self, deployment: str, missing: Mapping[str, str]) -> None:
        lines = "\n  - ".join(f"{name}: {what}" for name, what in missing.items())
        super().__init__(
            f"AFFIRM_DEPLOYMENT={deployment}: these variables are needed and not set:\n  - {lines}\n"
            "Set them in the environment of every process of the deployment."
        )


class AlertsNotSent(AffirmError):
    """Alerts that a hook did not take. They wait, and are tried again."""

    def __init__(self, problems: Iterable[str]) -> None:
        super().__init__("\n".join(problems))


class SchemaChangeRefused(AffirmError):
    """A table whose schema no longer fits its contract, in a way that would lose or reinterpret rows."""

    def __init__(self, table: str, differences: Iterable[str]) -> None:
        lines = "\n  - ".join(differences)
        super().__init__(
            f"{table}: the contract differs from the table in ways that are never applied by themselves:\n  - {lines}\n"
            "Only a new nullable column, a column made nullable and a changed description are. Restore the contract, "
            "or migrate the table by hand and then run the step again."
        )


class TableNotStageable(AffirmError):
    """A table on which a write cannot be staged, so that readers would see it before its audits."""


class WrongColumns(AffirmError):
    """A transform whose result does not have the contract's columns."""

    def __init__(self, dataset: str, contract: str, differences: Iterable[str]) -> None:
        lines = "\n  - ".join(differences)
        super().__init__(
            f"{dataset}: the transform's result does not fit {contract}; nothing was staged:\n  - {lines}\n"
            "Select, rename and cast in the transform; nothing is cast or dropped for it."
        )


class UnfitForEngine(AffirmError):
    """A step that an engine would not compute as Spark does, or a table that it would not read rightly.

    Said before anything is computed; the step is for another engine then.
    """


class NotPlain(UnfitForEngine):
    """A table whose data files cannot be read by their names alone, or are written in another way."""

    def __init__(self, table: str, what: str, reason: str) -> None:
        super().__init__(
            f"{table}: {what}: {reason}. The engine sail reads and writes a table's plain Parquet files by name, which "
            "would give other rows here. Run the step with the engine spark."
        )


class NotProven(UnfitForEngine):
    """An operator, function or type of a plan that is not proven to give the same rows as on Spark. Nothing has run.

    `types`: of its arguments, as SQL names them; `place`: the line that made it, where that is known.
    """

    def __init__(self, expression: str, why: str, types: Iterable[str] = (), place: str | None = None) -> None:
        self.expression, self.why, self.types, self.place = expression, why, tuple(types), place
        of = f" (of {', '.join(self.types)})" if self.types else ""
        super().__init__(f"{f'{place}: ' if place else ''}{expression}{of}: {why}.")


class EngineFailed(UnfitForEngine):
    """An engine that fails where another may not, such as by computing what a condition would have left out."""

    def __init__(self, engine: str, cause: str) -> None:
        super().__init__(f"{engine} failed with: {cause}")


class EngineMissing(AffirmError):
    """An engine that a step needs and this machine cannot run."""

    def __init__(self, dataset: str, window: object, engine: str, why: str, problem: str, otherwise: str) -> None:
        """`why` that engine was chosen; the `problem` and what to install; how to choose `otherwise`."""
        of_days = "" if window is None else f" {window}"
        super().__init__(
            f"{dataset}{of_days}: expected the engine {engine} ({why}); found that {problem} Or choose another engine: "
            f"{otherwise}."
        )


class NoOtherEngine(EngineMissing):
    """A step that sail failed at or is not fit for, where Spark cannot start: it might compute it, or find the same.

    So what was found comes first: a misspelt column or a division by zero is no lack of Java.
    """

    def __init__(self, dataset: str, window: object, found: UnfitForEngine, problem: str) -> None:
        of_days = "" if window is None else f" {window}"
        what = str(found).rstrip(".") if isinstance(found, EngineFailed) else f"not for sail: {str(found).rstrip('.')}"
        AffirmError.__init__(
            self,
            f"{dataset}{of_days}: {what}. Mend it if it is a mistake; else spark may compute it, which cannot start "
            f"here: {problem}",
        )


class WrongSession(AffirmError):
    """A transform whose result belongs to another Spark session, where its write would not be staged."""

    def __init__(self, dataset: str) -> None:
        super().__init__(
            f"{dataset}: expected the transform's result to belong to the step's session, found another; nothing "
            "was written. Make frames with SparkSession.active() or an input's sparkSession, not SparkSession.builder."
        )


class AcceptanceRefused(AffirmError):
    """What a person would let pass cannot be told, or is of no feed."""


class WindowRefused(AffirmError):
    """A window that this dataset cannot compute."""


class MonthClosed(WindowRefused):
    """A window in a month that is closed, whose numbers others rely on."""

    def __init__(self, dataset: str, window: str, closed: str, found: str, to_do: str) -> None:
        super().__init__(
            f"{dataset}: nothing was published for {window}: the months through {closed} are closed. Expected a "
            f"restatement that covers it, found {found}. To change closed books: {to_do}."
        )


class CloseRefused(AffirmError):
    """A month that cannot be closed, or a restatement that cannot begin or end."""


class TablesBusy(AffirmError):
    """Others commit to tables so often that a commit to all of them at once never comes first."""


class DatesDiffer(AffirmError):
    """Tables of which readers of the branch `closed` would see several dates, or none."""

    def __init__(self, tables: Mapping[str, Iterable[str]]) -> None:
        found = "; ".join(f"{said} in {', '.join(names)}" for said, names in tables.items())
        super().__init__(
            f"expected one date on the branch `closed` of all tables, and no other at a second look; found {found}. "
            "The close of business is under way, or was stopped between two tables: affirm close ends it."
        )


class RollbackRefused(AffirmError):
    """A table that cannot be put back to what a run published."""


class GapRefused(WindowRefused):
    """A window that would begin from a partition that was never published, although earlier ones were."""

    def __init__(self, dataset: str, window: str, before: date, found: str, run_instead: str) -> None:
        super().__init__(
            f"{dataset}: {window} begins with what {before} left; expected {before} to be published, found that "
            f"{found}. Run {run_instead} instead."
        )


class InputsNotPublished(WindowRefused):
    """A window whose inputs lack partitions that were never published: they would read as if nothing had happened."""

    def __init__(self, dataset: str, window: str, missing: Mapping[str, str]) -> None:
        found = ", ".join(f"{name} of {days}" for name, days in missing.items())
        super().__init__(
            f"{dataset}: {window} reads other datasets' partitions of the same days; expected all of them to be "
            f"published, if only without rows; found that these were not: {found}. Run them first."
        )


class RecordRefused(AffirmError):
    """A table of which it is not certain what is published: its record and its snapshots contradict each other."""

    def __init__(self, table: str, found: str, forward: str, to_do: str) -> None:
        super().__init__(
            f"{table}: expected the record of what is published to agree with the snapshots of main, found {found}. "
            f"Nothing is read or published until somebody says which holds. {forward}{to_do}."
        )


class PublishConflict(AffirmError):
    """Another writer changed what this step read or replaces after the step pinned it. Running it again is safe."""

    def __init__(self, table: str, window: str, base: int | None, cause: str) -> None:
        super().__init__(
            f"{table}: nothing was published for {window}: expected no change to these partitions, nor to the earlier "
            f"ones that the step read, since snapshot {base}; found {cause}. Run the step again to compute it from "
            "the present state."
        )


class StageLost(AffirmError):
    """A staged write that cannot be found, or that does not hold the rows that were written."""


class FilesLost(AffirmError):
    """Data files that an engine does not find, of a pinned snapshot or of what it staged: they would read as empty."""

    def __init__(self, table: str, where: str, expected: str, found: str) -> None:
        super().__init__(
            f"{table}: expected {expected} in {where}, found {found}. Were files removed while the step ran, or is "
            "their store not reachable from here? Nothing was published; run the step again."
        )


class UpkeepRefused(AffirmError):
    """A table whose old snapshots cannot be expired now. It is left as it is."""

    def __init__(self, table: str, expected: str, found: str, remedy: str) -> None:
        super().__init__(f"{table}: no snapshot was expired: expected {expected}; found {found}. {remedy}")
