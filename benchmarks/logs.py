"""Log templates: how well lines are grouped, and how many a second, against drain3 with its defaults.

The lines are the messages of Loghub's systems, 2,000 of each (github.com/logpai/loghub; Zhu et al., ISSRE 2023). All
are mined with the one configuration that the service has. For the rates both miners see each line once, from an empty
state, on one core, in turns; ours in batches as they arrive. Seconds are those of the CPU, and of several rounds the
quickest counts for both: what else runs disturbs neither. The steady rate is that of the same lines again and again.
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
ROUNDS = 5
REPEATED = 5
"""How often a round mines all lines anew."""
STEADY = 20
"""How often the lines are repeated for the steady rate."""


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
    seconds: dict[str, list[float]] = {"ours": [], "drain3": []}
    for _ in range(ROUNDS):
        peer, took = await _drain3(uv, systems)
        seconds["drain3"].append(took)
        for _ in range(REPEATED):
            ours, took = _ours(systems)
            seconds["ours"].append(took)
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
    rates = {who: number / min(each) for who, each in seconds.items()}
    ratio = rates["ours"] / rates["drain3"]
    harness.row(
        "logs", "log_lines_vs_drain3", rates["ours"], "lines/s",
        against=f"drain3 {rates['drain3']:.0f}/s", ratio=ratio, bar=3, ok=ratio >= 3,
    )  # fmt: skip
    harness.row("logs", "log_lines_steady", _steady(systems), "lines/s")


def _read(file: Path) -> System:
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return System([row["Content"] for row in rows], [row["EventId"] for row in rows])


def _ours(systems: dict[str, System]) -> tuple[dict[str, list[int]], float]:
    """The template of each line as it is after the last one, and the seconds that mining took."""
    found, took = {}, 0.0
    for name, system in systems.items():
        began = time.process_time()
        miner = Miner()
        ids = []
        for start in range(0, len(system.lines), BATCH):
            ids += miner.add(system.lines[start : start + BATCH])
        found[name] = [miner.current(id) for id in ids]
        took += time.process_time() - began
    return found, took


def _steady(systems: dict[str, System]) -> float:
    """Lines a second of all systems in turn, each with a miner that has seen its lines once."""
    number, took = 0, 0.0
    for system in systems.values():
        miner = Miner()
        miner.add(system.lines)
        began = time.process_time()
        for _ in range(STEADY):
            for start in range(0, len(system.lines), BATCH):
                miner.add(system.lines[start : start + BATCH])
        took += time.process_time() - began
        number += STEADY * len(system.lines)
    return number / took


async def _drain3(uv: str, systems: dict[str, System]) -> tuple[dict[str, list[int]], float]:
    """The cluster of each line by system, and the seconds that mining took."""
    command = [uv, "run", "--quiet", "--no-project", "--with", DRAIN3, "python"]
    command += [str(harness.HERE / "logs_peer.py"), str(REPEATED)]
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    given = json.dumps({name: system.lines for name, system in systems.items()})
    output, _ = await child.communicate(given.encode())
    if child.returncode:
        raise RuntimeError("drain3 did not come to its end")
    found = json.loads(output)
    return found["ids"], found["seconds"]


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
