"""How a deployment executes steps: where each one runs, which failures are tried again, and what is said of them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg

from affirm_assets.declare.registry import Registry
from affirm_assets.errors import AffirmError, PublishConflict, StageLost
from affirm_assets.orchestration.places import StepPlaces
from affirm_assets.settings import Settings
from affirm_assets.steps.audits_failed import AuditsFailed
from resources.iceberg import CatalogDamaged, CatalogLost
from resources.kubernetes.executor import step_executor
from resources.memory import MemoryWatch, causes
from resources.sail import SailAnswerLost
from resources.spark_on_kubernetes import NeedsOwnPod

_OVERTAKEN_RETRIES = 2
"""Of a step that another writer overtook, or whose staged write or an answer was lost. A third time is somebody's to
look at: two backfills of the same days, or a dataset that reads its own other days, would go on overtaking each
other."""

_INTO_OWN_POD_RETRIES = 1
"""Of a step that turns out to be for Spark while it is in the run's own pod: its second try has a pod of its own."""

_SECONDS_BEFORE_OVERTAKEN = 1  # the other writer has committed already


_NO_SPACE = ("No space left on device", "database or disk is full")
"""What the system, the engines and SQLite say of it; engines pass on an error's text only."""


@dataclass(frozen=True)
class Execution:
    """`retries`: of a step whose pod died, or whose error may pass, such as a service that did not answer."""

    executor: dg.ExecutorDefinition
    retries: dg.RetryPolicy | None = None


def execution_of(settings: Settings, registry: Registry) -> Execution:
    match settings.deployment:
        case "kubernetes":
            return Execution(
                step_executor(StepPlaces(registry, settings)),
                dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL),
            )
        case _:
            # The steps of a run share one process, and so its engines: to start those takes longer than most steps.
            return Execution(dg.in_process_executor)


@contextmanager
def step_failures() -> Iterator[None]:
    """Turns a step's errors into what Dagster shall do: try again, or fail and say why. AuditsFailed passes.

    Other errors are left to the step's retry policy, and so is the interrupt of a pod that is being deleted.
    """
    memory = MemoryWatch()
    try:
        yield
    except AuditsFailed:
        raise
    except (PublishConflict, StageLost, SailAnswerLost) as error:
        raise dg.RetryRequested(_OVERTAKEN_RETRIES, _SECONDS_BEFORE_OVERTAKEN) from error
    except NeedsOwnPod as error:
        raise dg.RetryRequested(_INTO_OWN_POD_RETRIES, 0) from error
    except (AffirmError, CatalogDamaged, CatalogLost) as error:
        # What the platform refuses, it refuses again.
        raise dg.Failure(str(error), allow_retries=False) from error
    except Exception as error:
        if cause := memory.blame(error):
            raise dg.Failure(cause, allow_retries=False) from error
        if any(each in str(cause) for cause in causes(error) for each in _NO_SPACE):
            raise dg.Failure(
                f"A disk is full: {error}\nExpected room for the step's files (in the lake, and in "
                f"{tempfile.gettempdir()}), found none. Readers see nothing of this step. Free space and run it again.",
                allow_retries=False,
            ) from error
        raise
