"""Paired comparisons on a machine whose noise and clock are known."""

import math
import random
from dataclasses import dataclass, field

import pytest

from bench.regression import verdict
from bench.regression.ab.paired import LEAST_PAIRS, PairedComparison, Rules, compare_paired

SAMPLE_S = 0.01
RULES = Rules(margin=0.02, fail_on=None, time_limit_s=60.0, error=0.01)


@dataclass
class Machine:
    """Time passes as steps run. Load comes in waves that last for many steps; every sample has noise of its own."""

    seed: int
    now: float = 0.0
    load: float = 0.0
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def clock(self) -> float:
        return self.now

    def run(self, seconds: float) -> float:
        self.load = 0.98 * self.load + self.rng.gauss(0, 0.05)
        took = seconds * math.exp(abs(self.load) + abs(self.rng.gauss(0, 0.05)))
        self.now += took
        return took


@dataclass
class Step:
    """A side whose every build is by chance a little faster or slower for as long as it lives."""

    machine: Machine
    seconds: float
    luck: float = 0.01
    builds: int = 0
    current: float = 0.0
    steps_asked: list[int] = field(default_factory=list)

    def build(self, where: float) -> tuple[float, float]:
        self.builds += 1
        self.current = self.seconds * math.exp(self.machine.rng.gauss(0, self.luck))
        return self.machine.run(0.01), self.current

    def seconds_per_image(self, steps: int) -> float:
        self.steps_asked.append(steps)
        return self.machine.run(self.current * steps) / steps


def compared(seed: int, ratio: float, rules: Rules = RULES, luck: float = 0.01) -> PairedComparison:
    machine = Machine(seed)
    return compare_paired(
        Step(machine, 0.01, luck),
        Step(machine, 0.01 * ratio, luck),
        rules,
        random.Random(seed),
        SAMPLE_S,
        clock=machine.clock,
    )


def word_for(found: PairedComparison) -> str:
    return verdict(found.zone, "lower", "s")


def test_the_same_code_is_called_the_same() -> None:
    said = [word_for(compared(seed, 1.0)) for seed in range(20)]
    assert not {"faster", "slower"} & set(said)
    assert said.count("same") >= 15


@pytest.mark.parametrize(("ratio", "word"), [(1.10, "slower"), (1 / 1.10, "faster")])
def test_a_tenth_is_found_in_either_direction_long_before_time_is_up(ratio: float, word: str) -> None:
    for seed in range(10):
        found = compared(seed, ratio)
        assert word_for(found) == word
        assert found.seconds < 20


def test_both_sides_go_first_equally_often() -> None:
    pairs = [pair for seed in range(10) for pair in compared(seed, 1.05).pairs]
    first = sum(pair.a_first for pair in pairs)
    assert abs(first - len(pairs) / 2) < 4 * math.sqrt(len(pairs) / 4)


def test_time_that_is_up_gives_no_answer() -> None:
    found = compared(3, 1.02, Rules(margin=0.02, fail_on=None, time_limit_s=6.0, error=0.01))
    assert word_for(found) == "unclear"
    assert 6.0 <= found.seconds < 7.0


@pytest.mark.parametrize(("error", "least"), [(0.01, 10), (0.00025, 16)])
def test_time_is_never_up_before_any_verdict_is_possible(error: float, least: int) -> None:
    said: list[str] = []
    machine = Machine(0)
    found = compare_paired(
        Step(machine, 0.01),
        Step(machine, 0.02),
        Rules(margin=0.02, fail_on=0.05, time_limit_s=0.001, error=error),
        random.Random(0),
        SAMPLE_S,
        said.append,
        machine.clock,
    )
    assert (word_for(found), found.builds, found.slower_than(0.05)) == ("slower", least, True)
    assert said == [f"the time limit of 0.001 s ended at build 1; any verdict needs {least - 1} more"]


def test_samples_of_both_sides_hold_the_same_number_of_steps() -> None:
    machine = Machine(0)
    a, b = Step(machine, 0.001), Step(machine, 0.002)
    compare_paired(a, b, RULES, random.Random(0), SAMPLE_S, clock=machine.clock)
    assert set(a.steps_asked) == set(b.steps_asked)
    (steps,) = set(a.steps_asked)
    assert 4 <= steps <= 6  # the slower side fills a sample


def test_builds_count_and_not_pairs() -> None:
    """Each build is up to a tenth off for as long as it lives; its pairs agree on that, however many they are."""
    said = [word_for(compared(seed, 1.0, luck=0.03)) for seed in range(20)]
    assert not {"faster", "slower"} & set(said)


def test_two_builds_say_more_than_one_thing_before_they_go() -> None:
    machine = Machine(0)
    found = compare_paired(
        Step(machine, 0.5), Step(machine, 0.5), RULES, random.Random(0), SAMPLE_S, clock=machine.clock
    )
    per_build = [sum(pair.build == build for pair in found.pairs) for build in range(found.builds - 1)]
    assert min(per_build) == LEAST_PAIRS


def test_a_gate_is_settled_too() -> None:
    """Above the margin after few pairs, but whether above 5 % takes more."""
    gated = Rules(margin=0.02, fail_on=0.05, time_limit_s=60.0, error=0.01)
    slow = compared(1, 1.12, gated)
    assert slow.slower_than(0.05)
    slight = compared(1, 1.035, gated)
    assert slight.slower_than(0.05) is False
    assert compared(3, 1.05, Rules(margin=0.02, fail_on=0.05, time_limit_s=6.0, error=0.01)).slower_than(0.05) is None
    assert gated.settled(slow.interval)


def test_building_that_takes_long_takes_half_of_the_time() -> None:
    @dataclass
    class Compiled(Step):
        def build(self, where: float) -> tuple[float, float]:
            self.builds += 1
            self.machine.now += 1.0
            self.current = self.seconds
            return 1.0, self.seconds

    machine = Machine(0)
    a, b = Compiled(machine, 0.01), Compiled(machine, 0.01)
    never = Rules(margin=0.0, fail_on=None, time_limit_s=40.0, error=0.01)
    compare_paired(a, b, never, random.Random(0), SAMPLE_S, clock=machine.clock)
    assert 8 <= a.builds <= 12
