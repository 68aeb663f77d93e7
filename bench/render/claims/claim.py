"""A statement that somebody published, how it is tested, and what a test found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.render.claims.setting import Setting

NOT_MEASURED = "not measured"
HOLDS, FAILS = "holds", "does not hold"
PARTLY, EXCEPT = "holds as far as measured", "holds except"  # followed by what is not


@dataclass(frozen=True)
class Part:
    """One of the things that a claim says."""

    words: str  # "operations": what a verdict calls it
    holds: bool | None  # None: what it takes was not measured
    evidence: str  # the numbers, or what is missing


@dataclass(frozen=True)
class Finding:
    verdict: str  # "holds", "does not hold", "holds except for ...", "holds as far as measured ...", "not measured"
    evidence: str

    @property
    def kind(self) -> str:
        """The verdict without its exceptions."""
        return next((kind for kind in (PARTLY, EXCEPT) if self.verdict.startswith(kind)), self.verdict)


Test = Callable[[Setting], Sequence[Part]]


@dataclass(frozen=True)
class Claim:
    """A test is given a setting, that is an input size, and says what is true there."""

    id: str
    words: str
    source: str
    home: Literal["imagenet", "cifar"]  # the setting that the claim is about
    test: Test
    elsewhere: bool  # whether the same can be asked at the other input size
    arithmetic: bool  # whether it can be judged without any measurement


def finding(parts: Sequence[Part]) -> Finding:
    """The verdict on a claim from those on its parts: a part that fails or is unknown is an exception."""
    known = [part for part in parts if part.holds is not None]
    evidence = "; ".join(dict.fromkeys(part.evidence for part in parts if part.evidence))
    if not known:
        return Finding(NOT_MEASURED, evidence)
    failed = ", ".join(part.words for part in known if not part.holds)
    if not any(part.holds for part in known):
        return Finding(FAILS, evidence)
    missing = ", ".join(part.words for part in parts if part.holds is None)
    verdict = f"{EXCEPT} for {failed}" if failed else PARTLY if missing else HOLDS
    return Finding(f"{verdict} (not measured: {missing})" if missing else verdict, evidence)


def unknown(words: str, missing: str) -> Part:
    return Part(words, None, f"missing: {missing}")
