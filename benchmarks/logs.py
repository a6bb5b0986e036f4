"""Log templates: how well lines are grouped, and how many a second, against drain3 with its defaults.

The lines are the messages of Loghub's systems, 2,000 of each (github.com/logpai/loghub; Zhu et al., ISSRE 2023). All
are mined with the one configuration that the service has. For the rates both miners begin with an empty state, on
one core, in turns, ours in batches as the command reads them, and see the lines of each system ten times over. What
they do in the first of these passes is told beside it: mostly what it costs to meet new templates. Seconds are those
of the CPU, and of several rounds the quickest counts for both, so that what else runs disturbs neither.
"""

import asyncio
import csv
import json
import os
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import harness

from plumbline_analysis.logs.mining import Miner

LOGHUB = Path(os.environ.get("BENCH_LOGHUB", harness.HERE.parents[1] / "shared" / "data" / "loghub"))
SYSTEMS = ("HDFS", "BGL", "HPC", "Linux", "OpenSSH", "Spark", "Zookeeper", "Apache")
DRAIN3 = "drain3==0.9.11"
BATCH = 4096
PASSES = 10
ROUNDS = 4
REPEATED = 3
"""How often a round mines all lines anew."""


@dataclass(frozen=True)
class System:
    """The lines of one system, and the true event of each."""

    lines: list[str]
    events: list[str]


async def main() -> None:
    if not LOGHUB.is_dir():
        harness.say(f"logs are left out: there are no systems in {LOGHUB}; say where with BENCH_LOGHUB")
        return
    systems = {name: _read(LOGHUB / name / f"{name}_2k.log_structured.csv") for name in SYSTEMS}
    number = sum(len(system.lines) for system in systems.values())
    uv = shutil.which("uv") or str(harness.HERE.parent / ".uv" / "bin" / "uv")
    _ours(systems)  # compiles the kernels
    theirs, mine = [], []
    for _ in range(ROUNDS):
        peer, took = await _drain3(uv, systems)
        theirs.append(took)
        for _ in range(REPEATED):
            ours, took = _ours(systems)
            mine.append(took)
    figures = {
        name: (
            grouping_accuracy(ours[name], system.events),
            grouping_accuracy(peer[name], system.events),
        )
        for name, system in systems.items()
    }
    for name, (accuracy, its) in figures.items():
        harness.say(f"{name}: grouping accuracy {accuracy:.4f}, drain3 {its:.4f}")
    accuracy, its = (statistics.mean(each) for each in zip(*figures.values(), strict=True))
    harness.row(
        "logs", "loghub_grouping_accuracy", accuracy, "share of lines",
        against=f"drain3 with its defaults, {its:.4f}", bar=0.95, ok=accuracy >= 0.95,
    )  # fmt: skip
    for metric, place, passes, bar in (("vs_drain3", 1, PASSES, 3), ("once_vs_drain3", 0, 1, None)):
        rate, its = (number * passes / min(took[place] for took in each) for each in (mine, theirs))
        harness.row(
            "logs", f"log_lines_{metric}", rate, "lines/s", against=f"drain3 {its:.0f}/s",
            ratio=rate / its, bar=bar, ok=None if bar is None else rate / its >= bar,
        )  # fmt: skip


def _read(file: Path) -> System:
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return System([row["Content"] for row in rows], [row["EventId"] for row in rows])


def _ours(systems: dict[str, System]) -> tuple[dict[str, list[int]], tuple[float, float]]:
    """The template of each line as it is after the first pass; the seconds of the first pass, and of all."""
    found, first, rest = {}, 0.0, 0.0
    for name, system in systems.items():
        began = time.process_time()
        miner = Miner()
        ids = _mined(miner, system.lines)
        found[name] = [miner.current(id) for id in ids]
        first += time.process_time() - began
        began = time.process_time()
        for _ in range(PASSES - 1):
            _mined(miner, system.lines)
        rest += time.process_time() - began
    return found, (first, first + rest)


def _mined(miner: Miner, lines: list[str]) -> list[int]:
    return [id for start in range(0, len(lines), BATCH) for id in miner.add(lines[start : start + BATCH])]


async def _drain3(uv: str, systems: dict[str, System]) -> tuple[dict[str, list[int]], tuple[float, float]]:
    """The cluster of each line by system, and the seconds of the first pass and of all."""
    command = [uv, "run", "--quiet", "--no-project", "--with", DRAIN3, "python"]
    command += [str(harness.HERE / "logs_peer.py"), str(REPEATED), str(PASSES)]
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    given = json.dumps({name: system.lines for name, system in systems.items()})
    output, _ = await child.communicate(given.encode())
    if child.returncode:
        raise RuntimeError("drain3 did not come to its end")
    found = json.loads(output)
    return found["ids"], (found["first"], found["all"])


def grouping_accuracy(found: Sequence[Hashable], right: Sequence[Hashable]) -> float:
    """The share of lines whose group has exactly the lines of their true group (Zhu et al., ICSE-SEIP 2019)."""

    def groups(labels: Sequence[Hashable]) -> set[frozenset[int]]:
        places = defaultdict(list)
        for place, label in enumerate(labels):
            places[label].append(place)
        return {frozenset(each) for each in places.values()}

    return sum(map(len, groups(found) & groups(right))) / len(right)


if __name__ == "__main__":
    asyncio.run(main())
