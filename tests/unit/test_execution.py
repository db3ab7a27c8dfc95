"""Which failures of a step are tried again, and what is said of the others."""

import errno
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from affirm_assets.declare.registry import Registry
from affirm_assets.errors import AffirmError, PublishConflict
from affirm_assets.orchestration import execution
from affirm_assets.orchestration.execution import execution_of, step_failures
from affirm_assets.settings import Settings
from resources.spark_on_kubernetes import NeedsOwnPod

RETRIES = dg.RetryPolicy(max_retries=1)
CONFLICT = PublishConflict("loans.loans", "2025-01-01", 1, "another snapshot")


def outcome(raises: Callable[[], BaseException], retries: dg.RetryPolicy | None = RETRIES) -> tuple[int, str]:
    """How many tries a step has that raises this each time, and with what it fails."""

    @dg.asset(retry_policy=retries)
    def step() -> None:
        with step_failures():
            raise raises()

    result = dg.materialize([step], raise_on_error=False)
    tries = 1 + sum(event.is_step_up_for_retry for event in result.all_events)
    failed: Any = result.failure_data_for_node("step")
    return tries, failed.error_display_string


def test_what_the_platform_refuses_is_not_tried_again() -> None:
    tries, said = outcome(lambda: AffirmError("loans.loans: refused"))
    assert (tries, "loans.loans: refused" in said) == (1, True)


def test_an_error_that_may_pass_is_tried_again_as_the_policy_says() -> None:
    tries, said = outcome(lambda: OSError("S3 did not answer"))
    assert (tries, "S3 did not answer" in said) == (2, True)
    assert outcome(lambda: OSError("S3 did not answer"), None)[0] == 1


def test_a_step_that_needs_its_own_pod_is_tried_once_more_also_without_a_policy() -> None:
    tries, said = outcome(lambda: NeedsOwnPod("tests/amounts is for spark"), None)
    assert (tries, "tests/amounts is for spark" in said) == (2, True)


def test_a_step_that_was_overtaken_is_tried_again_also_without_a_policy() -> None:
    assert outcome(lambda: CONFLICT, None)[0] == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, dg.DagsterExecutionInterruptedError])
def test_a_step_whose_pod_is_deleted_is_tried_again(error: type[BaseException]) -> None:
    tries: list[int] = []

    def interrupted_once() -> BaseException:
        tries.append(1)
        return error() if len(tries) == 1 else AffirmError("the second try")

    assert "the second try" in outcome(interrupted_once)[1]


def test_want_of_memory_is_said_and_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution.MemoryWatch, "blame", lambda *_: "out of memory: limit 2Gi")
    tries, said = outcome(lambda: OSError("Answer from Java side is empty"))
    assert (tries, "out of memory: limit 2Gi" in said) == (1, True)


def test_only_kubernetes_has_pods_and_retries(tmp_path: Path) -> None:
    local = Settings.local(tmp_path, date(2025, 1, 1))
    here = execution_of(local, Registry.of([]))
    assert (here.executor, here.retries) == (dg.in_process_executor, None)
    there = execution_of(replace(local, deployment="kubernetes"), Registry.of([]))
    assert there.executor.name == "affirm_steps"
    assert there.retries is not None


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("(sqlite3.OperationalError) database or disk is full"),
        RuntimeError("External error: Generic LocalFileSystem error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_said_and_not_tried_again(error: Exception) -> None:
    tries, said = outcome(lambda: error)
    assert tries == 1
    assert f"A disk is full: {error}" in said
    assert "Free space and run it again" in said
