"""The step's process is killed once its rows are published, before it has told Dagster."""

import os
import signal
from typing import Any

from pyspark.sql import DataFrame

from affirm_assets.declare.dataset import dataset
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.steps import run
from tests.kubernetes.faults.datasets.faults._rows import Numbered, rows, say


@dataset(Numbered, partitions=Daily("day"), owner="team:tests", starts="by_hand")
def killed_after_commit(window: Window) -> DataFrame:
    """Another try of the same run finds what was published, and does not come here."""
    publish = run.publish

    def publish_and_die(*args: Any, **more: Any) -> None:
        publish(*args, **more)
        say("killed after the commit")
        os.kill(os.getpid(), signal.SIGKILL)

    run.publish = publish_and_die
    return rows(window)
