"""Which run is the demo's, and what it shows of it meanwhile."""

import os

import dagster as dg
import pytest

from affirm_assets.runs import _Progress, _run_of

MINE, OTHER = "ed182013-df13-4324-b733-48e6b0946ce6", "0c6a2f3e-7d4f-4d0e-9a53-0d4d1f0b6f0a"


def line(run_id: str, pid: int, event: str) -> str:
    return f"2025-01-01 16:04:37 +0000 - dagster - DEBUG - __ASSET_JOB - {run_id} - {pid} - {event}\n"


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        pytest.param("", None, id="nothing yet"),
        pytest.param("SupersessionWarning: ...\n" + line(MINE, 889, "RUN_START - Started"), MINE, id="its own"),
        pytest.param(line(OTHER, 8890, "RUN_START - Started"), None, id="another process"),
    ],
)
def test_the_run_is_the_one_that_its_process_names(log: str, expected: str | None) -> None:
    assert _run_of(log, 889) == expected


def test_the_log_of_a_run_is_written_as_it_is_read(capfd: pytest.CaptureFixture[str]) -> None:
    """By a real run: an upgrade of Dagster that writes it in another way fails here."""
    with dg.DagsterInstance.ephemeral() as instance:
        run = _two_steps.execute_in_process(instance=instance)
    assert _run_of(capfd.readouterr().err, os.getpid()) == run.run_id


@dg.op
def first__step() -> int:
    return 1


@dg.op
def second__step(number: int) -> None:
    assert number == 1


@dg.job
def _two_steps() -> None:
    second__step(first__step())


def test_each_step_is_shown_once() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run_id = _two_steps.execute_in_process(instance=instance).run_id
        progress = _Progress(instance)
        assert [text.split()[0] for text in progress.news(run_id)] == ["first/step", "second/step"]
        assert list(progress.news(run_id)) == []
