"""Duels on a machine whose noise and clock are known."""

import math
import random
from dataclasses import dataclass, field

import pytest

from bench.regression.ab.paired import LEAST_PAIRS, Duel, Rules, fight
from bench.regression.verdict import verdict

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

    def build(self) -> tuple[float, float]:
        self.builds += 1
        self.current = self.seconds * math.exp(self.machine.rng.gauss(0, self.luck))
        return self.machine.run(0.01), self.current

    def seconds_per_image(self, steps: int) -> float:
        self.steps_asked.append(steps)
        return self.machine.run(self.current * steps) / steps


def nowhere() -> None:
    """There is one processor."""


def duel(seed: int, ratio: float, rules: Rules = RULES, luck: float = 0.01) -> Duel:
    machine = Machine(seed)
    return fight(
        Step(machine, 0.01, luck),
        Step(machine, 0.01 * ratio, luck),
        rules,
        random.Random(seed),
        SAMPLE_S,
        nowhere,
        machine.clock,
    )


def words(found: Duel) -> str:
    return verdict(found.zone, "lower", "s")


def test_the_same_code_is_called_the_same() -> None:
    said = [words(duel(seed, 1.0)) for seed in range(20)]
    assert not {"faster", "slower"} & set(said)
    assert said.count("same") >= 15


@pytest.mark.parametrize(("ratio", "word"), [(1.10, "slower"), (1 / 1.10, "faster")])
def test_a_tenth_is_found_in_either_direction_long_before_time_is_up(ratio: float, word: str) -> None:
    for seed in range(10):
        found = duel(seed, ratio)
        assert words(found) == word
        assert found.seconds < 20


def test_both_sides_go_first_equally_often() -> None:
    pairs = [pair for seed in range(10) for pair in duel(seed, 1.05).pairs]
    first = sum(pair.a_first for pair in pairs)
    assert abs(first - len(pairs) / 2) < 4 * math.sqrt(len(pairs) / 4)


def test_time_that_is_up_gives_no_answer() -> None:
    found = duel(3, 1.02, Rules(margin=0.02, fail_on=None, time_limit_s=3.0, error=0.01))
    assert words(found) == "unclear"
    assert 3.0 <= found.seconds < 4.0


def test_samples_of_both_sides_hold_the_same_number_of_steps() -> None:
    machine = Machine(0)
    a, b = Step(machine, 0.001), Step(machine, 0.002)
    fight(a, b, RULES, random.Random(0), SAMPLE_S, nowhere, machine.clock)
    assert set(a.steps_asked) == set(b.steps_asked)
    (steps,) = set(a.steps_asked)
    assert 4 <= steps <= 6  # the slower side fills a sample


def test_builds_count_and_not_pairs() -> None:
    """Each build is up to a tenth off for as long as it lives; its pairs agree on that, however many they are."""
    said = [words(duel(seed, 1.0, luck=0.03)) for seed in range(20)]
    assert not {"faster", "slower"} & set(said)


def test_two_builds_say_more_than_one_thing_before_they_go() -> None:
    machine = Machine(0)
    found = fight(Step(machine, 0.5), Step(machine, 0.5), RULES, random.Random(0), SAMPLE_S, nowhere, machine.clock)
    per_build = [sum(pair.build == build for pair in found.pairs) for build in range(found.builds - 1)]
    assert min(per_build) == LEAST_PAIRS


def test_a_gate_is_settled_too() -> None:
    """Above the margin after few pairs, but whether above 5 % takes more."""
    gated = Rules(margin=0.02, fail_on=0.05, time_limit_s=60.0, error=0.01)
    slow = duel(1, 1.12, gated)
    assert slow.slower_than(0.05)
    slight = duel(1, 1.035, gated)
    assert not slight.slower_than(0.05)
    assert gated.settled(slow.interval)


def test_building_that_takes_long_takes_half_of_the_time() -> None:
    @dataclass
    class Compiled(Step):
        def build(self) -> tuple[float, float]:
            self.builds += 1
            self.machine.now += 1.0
            self.current = self.seconds
            return 1.0, self.seconds

    machine = Machine(0)
    a, b = Compiled(machine, 0.01), Compiled(machine, 0.01)
    never = Rules(margin=0.0, fail_on=None, time_limit_s=40.0, error=0.01)
    fight(a, b, never, random.Random(0), SAMPLE_S, nowhere, machine.clock)
    assert 8 <= a.builds <= 12
