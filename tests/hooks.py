"""A way to people that keeps what it was given."""

from dataclasses import dataclass, field


@dataclass
class Hook:
    name: str = "memory"
    sent: list[str] = field(default_factory=list)

    def send(self, subject: str, text: str) -> None:
        self.sent.append(text)
