"""The streaming detection engine's speed and size, against river's half-space trees and ADTK's seasonal detector.

`python benchmarks/streams.py [stream] [memory] [peers]`: these parts of it. The peers run in environments of their
own, which uv makes, on the same series.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import harness
import numpy as np
import numpy.typing as npt

from plumbline_analysis.detection.streams import Engine

SERIES = 10_000
LEARNT = 150
BATCHES = 10
"""Batches of one arrival a series, in an order of their own each; measured after LEARNT of them."""
ROUNDS = 20
LIVE = 100_000
PEER_POINTS = 20_000
START = 1_700_000_000_000_000
STEP = 300_000_000

Float64 = npt.NDArray[np.float64]

RIVER = """
import json, sys, time
from river import anomaly
values = json.load(sys.stdin)
low, high = min(values), max(values)
model = anomaly.HalfSpaceTrees(seed=1, limits={"x": (low, high)})
began = time.process_time()
for value in values:
    point = {"x": value}
    model.score_one(point)
    model.learn_one(point)
print(time.process_time() - began)
"""
ADTK = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import pandas
from adtk.detector import SeasonalAD
values = json.load(sys.stdin)
series = pandas.Series(values, index=pandas.date_range("2024-01-01", periods=len(values), freq="5min"))
began = time.process_time()
SeasonalAD(freq=288).fit_detect(series)
print(time.process_time() - began)
"""
PEERS = {
    "river": (200.0, RIVER, ["river==0.22.0"], "river's HalfSpaceTrees (its defaults), score_one and learn_one"),
    "adtk": (
        10.0,
        ADTK,
        ["adtk==0.6.2", "pandas<2", "numpy<2", "scikit-learn<1.6"],
        "ADTK's SeasonalAD, told the season, fit_detect",
    ),
}


def values(points: int, series: int, seed: int = 1) -> Float64:
    """A load with a daily season and noise, each series at a phase and a scale of its own; shape (points, series)."""
    random = np.random.default_rng(seed)
    phase = random.random(series) + np.arange(points)[:, None] / 288
    scale = 10.0 ** random.uniform(-2, 4, series)
    return scale * (10 + 4 * np.sin(2 * np.pi * phase) + random.normal(size=(points, series)))


def batches(count: int, series: int) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Float64]]:
    random = np.random.default_rng(2)
    for number, row in enumerate(values(count, series)):
        order = random.permutation(series)
        yield order, np.full(series, START + number * STEP), row[order]


def points_per_s() -> float:
    """Points a second of CPU time; the best of some rounds, as others may have the caches in between."""
    engine, best = Engine(SERIES), 0.0
    given = list(batches(LEARNT + ROUNDS * BATCHES, SERIES))
    for batch in given[:LEARNT]:
        engine.run(*batch)
    for number in range(ROUNDS):
        part = given[LEARNT + number * BATCHES :][:BATCHES]
        began = time.process_time()
        for batch in part:
            engine.run(*batch)
        best = max(best, BATCHES * SERIES / (time.process_time() - began))
    return best


def _live() -> float:
    """MB of a process that holds LIVE series, each past its learning."""
    engine = Engine(LIVE)
    for batch in batches(65, LIVE):
        engine.run(*batch)
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def stream() -> None:
    rate = points_per_s()
    harness.row(
        "detection", "stream_points_per_s", rate, "points per CPU second",
        against=f"{SERIES:,} series, batches of arrival, one core", bar=2e6, ok=rate >= 2e6,
    )  # fmt: skip
    harness.row("detection", "stream_bytes_per_series", Engine(1).bytes_per_series, "bytes", bar=65536, ok=True)


def memory() -> None:
    with get_context("spawn").Pool(1) as pool:
        size = pool.apply(_live)
    harness.row(
        "detection", "rss_100k_series_mb", size, "MB", against="the whole process at its largest", bar=4096,
        ok=size <= 4096,
    )  # fmt: skip


def peers() -> None:
    """One series, the same points: as one batch to the engine, as each peer takes them."""
    uv = shutil.which("uv") or str(harness.HERE.parent / ".uv" / "bin" / "uv")
    given = values(PEER_POINTS, 1)[:, 0]
    whose, at = np.zeros(PEER_POINTS, np.int64), START + STEP * np.arange(PEER_POINTS)
    Engine(1).run(whose, at, given)
    taken = []
    for _ in range(5):
        began = time.process_time()
        Engine(1).run(whose, at, given)
        taken.append(time.process_time() - began)
    own = PEER_POINTS / min(taken)
    for name, (bar, program, packages, against) in PEERS.items():
        command = [uv, "run", "--quiet", "--no-project", "--isolated", "--python", "3.11"]
        for package in packages:
            command += ["--with", package]
        try:
            output = subprocess.run(
                [*command, "python", "-c", program],
                input=json.dumps(given.tolist()), capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip
            ratio = own / (PEER_POINTS / float(output))
            harness.row(
                "detection", f"stream_vs_{name}", own, "points/s", against=against, ratio=ratio, bar=bar,
                ok=ratio >= bar,
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError) as error:
            harness.say(f"{name} is left out, uv could not run it: {getattr(error, 'stderr', '') or error}")


def main() -> None:
    parts = {"stream": stream, "memory": memory, "peers": peers}
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
