"""Published claims on efficiency and accuracy, each tested on the records of a run.

setting    the networks of one input size: 224×224, which most claims are about, and 32×32; a claim and its verdict
claims.csv the claims;  lecture, canziani: their tests, by author
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.render.claims import canziani, lecture
from bench.render.claims.setting import EXCEPT, FAILS, HOLDS, NOT_MEASURED, PARTLY, Claim, Finding, finding, settings
from bench.render.results import Results, inert
from bench.render.results.kept import Layers

_TESTS = {**lecture.TESTS, **canziani.TESTS}


def _read() -> tuple[Claim, ...]:
    """The claims in the order of claims.csv, each with its test."""
    with (Path(__file__).parent / "claims.csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            Claim(
                id=row["id"],
                words=row["claim"],
                source=row["source"],
                home="cifar" if row["track"] == "cifar" else "imagenet",
                test=_TESTS[row["id"]],
                elsewhere=row["other_size"] == "yes",
                arithmetic=row["arithmetic"] == "yes",
            )
            for row in csv.DictReader(file)
        )


CLAIMS = _read()


@dataclass(frozen=True)
class Ruling:
    claim: Claim
    size: str  # "224×224": where the claim was meant
    found: Finding
    other_size: str
    beside: Finding | None  # at the other size; None where the claim is not about it

    @property
    def large(self) -> Finding | None:
        return self.found if self.claim.home == "imagenet" else self.beside

    @property
    def small(self) -> Finding | None:
        return self.found if self.claim.home == "cifar" else self.beside


def rulings(results: Results, layers: Mapping[str, Layers]) -> list[Ruling]:
    """All of them, in a fixed order; a claim that the run has no numbers for is "not measured"."""
    places = settings(results, layers)
    found = []
    for claim in CLAIMS:
        home = places[claim.home]
        other = places["cifar" if claim.home == "imagenet" else "imagenet"]
        beside = finding(claim.test(other)) if claim.elsewhere else None
        found.append(Ruling(claim, home.size, finding(claim.test(home)), other.size, beside))
    return found


def worth_showing(ruled: Sequence[Ruling]) -> bool:
    """Whether some verdict rests on a number of the run."""
    return any(each.found.kind != NOT_MEASURED and not each.claim.arithmetic for each in ruled)


def summary(ruled: Sequence[Ruling]) -> str:
    """Such as "Of 36 claims, 20 hold, 6 hold with exceptions, ... at the input size that each is about."."""
    count = Counter(each.found.kind for each in ruled)
    return (
        f"Of {len(ruled)} claims, {count[HOLDS]} hold, {count[PARTLY]} hold as far as they were measured, "
        f"{count[EXCEPT]} hold with exceptions, {count[FAILS]} do not hold and {count[NOT_MEASURED]} were not "
        "measured, each at the input size that it is about."
    )


def write_claims_csv(ruled: Sequence[Ruling]) -> str:
    """A row per claim, and another with "@32" or "@224" behind its id for the input size that it was not made for."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("id", "claim", "source", "verdict", "evidence"))
    for each in ruled:
        rows = [(each.claim.id, each.claim.words, each.found)]
        if each.beside:
            side = each.other_size.partition("×")[0]
            rows.append((f"{each.claim.id}@{side}", f"At {each.other_size}: {each.claim.words}", each.beside))
        for identity, words, found in rows:
            writer.writerow(map(inert, (identity, words, each.claim.source, found.verdict, found.evidence)))
    return buffer.getvalue()
