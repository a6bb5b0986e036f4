"""Looking back on a whole history: the matrix profile against stumpy's, the changepoints against those of ruptures.

The peers run in environments of their own, which uv makes, on the same series and one core. Seconds are those of the
CPU, without compiling; of several rounds the quickest counts for both. What a peer takes to be ready is told beside.
`python benchmarks/batch.py [whole] [profile] [changes]`: these parts of it.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

import harness
import numpy as np
import numpy.typing as npt

from plumbline_analysis.detection import batch, changepoints, discords, grid

DAY = 288
WINDOW = DAY
POINTS = 16_384
ROUNDS = 5
START = 1_700_000_000_000_000
STEP = 300_000_000

Float64 = npt.NDArray[np.float64]

STUMPY = """
import json, sys, time
values, window = json.load(sys.stdin)
began = time.perf_counter()
import numba, numpy, stumpy
values = numpy.array(values)
numba.set_num_threads(1)
found = stumpy.stump(values[:1000], window)
ready = time.perf_counter() - began
took = []
for _ in range(3):
    began = time.process_time()
    found = stumpy.stump(values, window)
    took.append(time.process_time() - began)
print(json.dumps([ready, min(took), found[:, 0].astype(float).tolist()]))
"""
RUPTURES = """
import json, sys, time
values, price, shortest = json.load(sys.stdin)
began = time.perf_counter()
import numpy, ruptures
values = numpy.array(values)[:, None]
ready = time.perf_counter() - began
took = []
for _ in range(3):
    began = time.process_time()
    found = ruptures.KernelCPD(kernel="linear", min_size=shortest).fit(values).predict(pen=price)
    took.append(time.process_time() - began)
print(json.dumps([ready, min(took), [int(end) for end in found[:-1]]]))
"""
PACKAGES = {STUMPY: ["stumpy==1.14.1"], RUPTURES: ["ruptures==1.1.10"]}


def load(points: int) -> Float64:
    """A load with a daily season and noise, every five minutes."""
    phase = np.arange(points) / DAY * 2 * np.pi
    return 100 + 40 * np.sin(phase) + 2 * np.random.default_rng(1).normal(size=points)


def seconds(work: Callable[[], object]) -> float:
    work()
    took = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return min(took)


def peer(program: str, given: object) -> tuple[float, float, list[float]] | None:
    """Seconds until it is ready, seconds of its work, and what it found; None where uv could not run it."""
    uv = shutil.which("uv") or str(harness.HERE.parent / ".uv" / "bin" / "uv")
    command = [uv, "run", "--quiet", "--no-project", "--isolated", "--python", "3.11"]
    for package in PACKAGES[program]:
        command += ["--with", package]
    command += ["python", "-W", "ignore", "-c", program]
    try:
        run = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        harness.say(f"{PACKAGES[program]} is left out: {getattr(error, 'stderr', '') or error}")
        return None
    ready, took, found = json.loads(run.stdout)
    return ready, took, found


def profile() -> None:
    values = load(POINTS)
    own = seconds(lambda: discords.matrix_profile(values, WINDOW))
    if theirs := peer(STUMPY, [values.tolist(), WINDOW]):
        ready, took, distances = theirs
        off = float(np.abs(discords.matrix_profile(values, WINDOW)[0] - distances).max())
        harness.say(f"stumpy was ready after {ready:.1f} s; the profiles differ by at most {off:.1e}")
        harness.row(
            "batch", "profile_vs_stumpy", own, "CPU s", ratio=took / own, bar=1, ok=took >= own and off < 1e-6,
            against=f"stump, one thread, {POINTS:,} points, window {WINDOW}: {took:.3f} s",
        )  # fmt: skip


def changes(name: str, values: Float64) -> None:
    """The same optimum by both: least squares, the same price, the same shortest piece."""
    price = 3 * changepoints.long_run_variance(values) * float(np.log(len(values)))
    sums = np.concatenate([[0.0], np.cumsum(values - np.median(values))])
    lengths = np.arange(len(values) + 1.0)
    own = seconds(lambda: changepoints.pelt(sums, lengths, price, changepoints.SHORTEST))
    if theirs := peer(RUPTURES, [values.tolist(), price, changepoints.SHORTEST]):
        _, took, found = theirs
        cuts = changepoints.places(changepoints.pelt(sums, lengths, price, changepoints.SHORTEST))[1:-1]
        harness.row(
            "batch", f"changepoints_{name}_vs_ruptures", own, "CPU s", ratio=took / own, bar=1,
            ok=took >= own and cuts == found,
            against=f"KernelCPD (C), {len(values):,} points, {len(cuts)} changes: {took:.3f} s",
        )  # fmt: skip


def whole() -> None:
    values = load(grid.LONGEST)
    at = START + STEP * np.arange(len(values))
    took = seconds(lambda: batch.look_back(at, values))
    harness.row(
        "batch", "look_back_s", took, "CPU s", against=f"{len(values):,} points, the most that are looked at", bar=10,
        ok=took <= 10,
    )  # fmt: skip


def both_changes() -> None:
    noise = np.random.default_rng(2).normal(size=POINTS)
    changes("none", noise)
    changes("many", noise + 4 * (np.arange(POINTS) // 256 % 2))


def main() -> None:
    parts = {"whole": whole, "profile": profile, "changes": both_changes}
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
