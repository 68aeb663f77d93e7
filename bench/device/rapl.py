"""What the processors of a Linux machine spend, and their memory where it is told: RAPL, in /sys/class/powercap.

Of the libraries that read the same files, those that are kept up bring a dozen others along.
"""

from __future__ import annotations

from pathlib import Path

from bench.device.nvml import Unavailable

ZONES = Path("/sys/class/powercap")  # also of AMD's processors, under Intel's name


class Processors:
    """All processors of the machine, whoever uses them."""

    def __init__(self, zones: Path | None = None) -> None:
        """Look for their counters.

        Raises:
            Unavailable: there are none, or this process may not read them.
        """
        names = {zone: (zone / "name").read_text().strip() for zone in sorted((zones or ZONES).glob("intel-rapl:*"))}
        # A package holds its cores; "psys" is the whole machine, with what is not needed for computing.
        self._counters = [_Counter(zone) for zone, name in names.items() if name.startswith(("package", "dram"))]
        if not self._counters:
            raise Unavailable("needs an NVIDIA GPU (NVML), or a Linux that tells what its processors spend (RAPL)")

    def energy_joules(self) -> float:
        """Since this object was made."""
        return sum(counter.joules() for counter in self._counters)

    def power_watts(self) -> float:
        raise Unavailable("RAPL counts energy and tells no power")


class _Counter:
    """Microjoules that begin again from zero at some large number."""

    def __init__(self, zone: Path) -> None:
        self._file = zone / "energy_uj"
        self._range = int((zone / "max_energy_range_uj").read_text())
        self._spent, self._last = 0, self._read()

    def joules(self) -> float:
        now = self._read()
        self._spent, self._last = self._spent + (now - self._last) % self._range, now
        return self._spent / 1e6

    def _read(self) -> int:
        try:
            return int(self._file.read_text())
        except PermissionError:
            every = self._file.parents[1] / "*" / "energy_uj"
            raise Unavailable(
                f"only root may read what the processors spend (RAPL): `sudo chmod a+r {every}` lets this run read it"
            ) from None
