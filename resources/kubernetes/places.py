"""Where a step is executed, as its executor asks: in the run's own pod or in one of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Place:
    """Whether a step is executed in the run's own pod, and why it is or not."""

    in_run_pod: bool
    why: str


class Places(Protocol):
    """Says where steps are executed, by their keys."""

    def beforehand(self, step: str) -> str | None:
        """Why the step has a pod of its own, as far as declarations and settings say; None: what it reads decides."""

    def now(self, step: str, tags: Mapping[str, str]) -> Place:
        """By what the step would read now, in a run with these tags. Asked in the process that would execute it."""
