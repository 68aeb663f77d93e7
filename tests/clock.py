"""A clock that the test holds."""

from dataclasses import dataclass


@dataclass
class Time:
    """One that passes only when somebody works or waits."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds
