"""The engine that a benchmark is about, for each of its steps."""

from collections.abc import Callable
from dataclasses import dataclass

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import UnfitForEngine
from affirm_assets.steps.engine import Engine
from affirm_assets.steps.scan_size import ScanSize


@dataclass(frozen=True)
class OneEngine:
    opens: Callable[[], Engine]

    def open(self, dataset: Dataset, window: Window | None, scan: ScanSize) -> Engine:  # noqa: ARG002
        return self.opens()

    def instead(self, dataset: Dataset, window: Window | None, scan: ScanSize, error: UnfitForEngine) -> Engine:  # noqa: ARG002
        raise error
