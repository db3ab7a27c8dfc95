"""What the reaper takes and what it leaves."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from affirm_assets.orchestration import reaper as module
from affirm_assets.orchestration.reaper import leftovers, reaper
from resources.kubernetes.leftovers import Made

NOW = datetime(2025, 1, 1, 12, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=1)


def made(**changes: Any) -> Made:
    valid = {
        "kind": "pod",
        "namespace": "affirm",
        "name": "pod",
        "uid": "uid",
        "run_id": "run",
        "created": LONG_AGO,
        "is_living": True,
        "is_labelled": True,
    }
    return Made(**{**valid, **changes})


def is_taken(each: Made, **ends: datetime | None) -> bool:
    return leftovers([each], ends, NOW) == [each]


def test_what_a_run_still_needs_is_left() -> None:
    assert not is_taken(made(), run=None)


def test_what_lives_on_after_its_run_is_taken_after_half_a_minute() -> None:
    assert not is_taken(made(), run=NOW - timedelta(seconds=30))
    assert is_taken(made(), run=NOW - timedelta(seconds=31))


def test_what_has_ended_can_be_looked_at_for_an_hour() -> None:
    ended = made(is_living=False)
    assert not is_taken(ended, run=NOW - timedelta(minutes=60))
    assert is_taken(ended, run=NOW - timedelta(minutes=61))


def test_what_bears_the_platforms_label_of_an_unknown_run_is_taken_once_it_is_old() -> None:
    assert not is_taken(made(created=NOW - timedelta(minutes=15)))
    assert is_taken(made(created=NOW - timedelta(minutes=16)))


def test_the_run_worker_of_another_dagster_is_not_ours() -> None:
    assert not is_taken(made(is_labelled=False))
    assert is_taken(made(is_labelled=False), run=LONG_AGO)


class FakeApi:
    def __init__(self) -> None:
        self.removed: list[str] = []

    def remove(self, each: Made) -> None:
        self.removed.append(each.name)


def test_the_sensor_takes_what_is_left_of_runs_that_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi()
    with dg.instance_for_test() as instance:
        over = create_run_for_test(instance, status=dg.DagsterRunStatus.FAILURE).run_id
        going = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED).run_id
        found = [made(name="over", run_id=over), made(name="going", run_id=going)]
        monkeypatch.setattr(module, "Api", lambda: api)
        monkeypatch.setattr(module, "own_namespace", lambda: "affirm")
        monkeypatch.setattr(module, "made_by_runs", lambda *_: found)
        monkeypatch.setattr(module, "_LIVING", timedelta(0))
        with dg.build_sensor_context(instance) as context:
            said = reaper(context)
    assert api.removed == ["over"]
    assert said.skip_message == "1 of 2 objects removed"
