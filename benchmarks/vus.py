"""VUS-PR of the streaming engine on NAB, and of the multivariate detector, against TSB-AD's over the whole series.

`python benchmarks/vus.py [nab] [many]`: these parts of it. BENCH_NAB and BENCH_MULTIVARIATE say where the data stand:
NAB 1.1, and a folder of .npz files with `train`, `test` (ticks, signals) and `label` (of test), SMD's named
`machine-*`, ASD's `omi-*`. TSB-AD runs in an environment of its own, which uv makes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import harness
import nab
import numpy as np
import numpy.typing as npt
from nab_rule import worth
from vus_pr import vus_pr

from plumbline_analysis.detection import streams
from plumbline_analysis.detection.lately import before_the_first, lately
from plumbline_analysis.detection.multivariate import Group

MULTIVARIATE = Path(
    os.environ.get("BENCH_MULTIVARIATE", harness.HERE.parents[1] / "shared" / "data" / "multivariate")
)
TSB_AD = "tsb-ad==1.5"
BESIDE = ("numpy<2.4", "pandas<3", "scipy<1.16", "scikit-learn<1.7", "statsmodels==0.14.4", "hurst", "tqdm", "numba")
CHECKED = 5
"""So many series, the shortest, are also scored by TSB-AD's own metric."""
SPEED_ROUNDS = 5

Array = npt.NDArray[np.float64]


def peers(series: Mapping[str, Array]) -> dict[str, Array]:
    """What `vus_peers.py` says of the series. TSB-AD comes without its dependencies: they are for deep detectors."""
    uv = shutil.which("uv") or str(harness.HERE.parent / ".uv" / "bin" / "uv")
    with tempfile.TemporaryDirectory(prefix="plumbline-vus-") as name:
        folder = Path(name)
        python = str(folder / "peer" / "bin" / "python")
        install = [uv, "pip", "install", "--quiet", "--python", python]
        np.savez(folder / "given.npz", **series)
        for command in (
            [uv, "venv", "--quiet", "--python", "3.11", str(folder / "peer")],
            [*install, *BESIDE],
            [*install, "--no-deps", TSB_AD],
            [python, str(harness.HERE / "vus_peers.py"), str(folder / "given.npz"), str(folder / "found.npz")],
        ):
            subprocess.run(command, check=True, stdout=sys.stderr)
        with np.load(folder / "found.npz") as found:
            return dict(found)


# --- One series: the engine on NAB ---------------------------------------------------------------------------


def on_nab() -> None:
    if not (nab.DATA / "labels").is_dir():
        harness.say(f"NAB is left out: there are no data in {nab.DATA}; say where with BENCH_NAB")
        return
    corpus = [series for series in nab.read(nab.DATA) if series.windows]
    given = {f"one/{series.name}": series.values for series in corpus}
    labels = {series.name: worth(len(series.values), series.windows)[1] >= 0 for series in corpus}
    plain, curve = {}, {}
    for series in corpus:
        judged = streams.Engine(1).run(np.zeros(len(series.values), np.int64), series.at, series.values)
        plain[series.name] = np.nan_to_num(judged.score)
        curve[series.name] = lately(judged.score, before_the_first())
    for name in sorted(curve, key=lambda name: len(curve[name]))[:CHECKED]:
        window = np.full(len(curve[name]), 25.0)
        given[f"checked/{name}"] = np.stack([labels[name].astype(np.float64), curve[name], window])
    found = peers(given)
    for name in (name.split("/", 1)[1] for name in given if name.startswith("checked/")):
        own, its = vus_pr(labels[name], curve[name], 25), float(found[f"checked/{name}/vus_pr"])
        if abs(own - its) > 1e-9:
            raise RuntimeError(f"TSB-AD's own VUS-PR of {name} is {its}, not {own}")

    def mean(scores: Mapping[str, Array]) -> float:
        return float(np.mean([vus_pr(labels[name], scores[name], int(found[f"{name}/window"])) for name in labels]))

    theirs = {peer: mean({name: found[f"{name}/{peer}"] for name in labels}) for peer in ("Sub-PCA", "POLY")}
    own, best = mean(curve), max(theirs.values())
    against = ", ".join(f"{peer} {value:.3f}" for peer, value in theirs.items())
    harness.row(
        "vus", "vus_pr_nab", own, "VUS-PR", against=f"{len(corpus)} files, lately's curve; {against}",
    )  # fmt: skip
    harness.row("vus", "vus_pr_nab_of_score", mean(plain), "VUS-PR", against=f"the score of single points; {against}")
    harness.row(
        "vus", "vus_pr_vs_best_peer", own, "VUS-PR", against=against, ratio=own / best, bar=1.0, ok=own >= best
    )


# --- Many signals: SMD and ASD --------------------------------------------------------------------------------


def on_many() -> None:
    files = sorted(MULTIVARIATE.glob("*.npz")) if MULTIVARIATE.is_dir() else []
    if not files:
        harness.say(f"many signals are left out: no files in {MULTIVARIATE}; say where with BENCH_MULTIVARIATE")
        return
    loaded = {file.stem: dict(np.load(file)) for file in files}
    given = {f"many/{name}": data["test"] for name, data in loaded.items()}
    given |= {f"many/{name} with train": np.vstack([data["train"], data["test"]]) for name, data in loaded.items()}
    found = peers(given)
    own = {name: np.nan_to_num(Group(data["test"].shape[1]).run(data["test"]).score) for name, data in loaded.items()}
    for kind, prefix, bar in (("smd", "machine-", 1.1), ("asd", "omi-", 2.0)):
        names = [name for name in loaded if name.startswith(prefix)]

        def mean(scores: Mapping[str, Array], names: list[str] = names) -> float:
            return float(
                np.mean([vus_pr(loaded[name]["label"], scores[name], int(found[f"{name}/window"])) for name in names])
            )

        theirs = {
            f"{peer}{over}": mean({
                name: found[f"{name}{over}/{peer}"][-len(loaded[name]["label"]) :] for name in names
            })
            for peer in ("PCA", "PCA of all components")
            for over in ("", " with train")
        }  # fmt: skip
        value, best = mean(own), max(theirs.values())
        harness.row(
            "vus", f"multivariate_{kind}_vs_pca", value, "VUS-PR", ratio=value / best, bar=bar,
            ok=value >= bar * best, against=", ".join(f"{peer} {its:.3f}" for peer, its in theirs.items()),
        )  # fmt: skip
        each = {name: vus_pr(loaded[name]["label"], own[name], int(found[f"{name}/window"])) for name in names}
        harness.say(", ".join(f"{name} {its:.3f}" for name, its in each.items()))
    speed(max((data["test"] for data in loaded.values()), key=np.size))


def speed(values: Array) -> None:
    given, taken = np.ascontiguousarray(values, np.float64), []
    for _ in range(SPEED_ROUNDS):
        group = Group(given.shape[1])
        began = time.process_time()
        group.run(given)
        taken.append(time.process_time() - began)
    rate = given.size / min(taken)
    harness.row(
        "vus", "multivariate_points_per_s", rate, "metric-points per CPU second",
        against=f"{given.shape[1]} signals, {len(given):,} ticks, one core", bar=1e7, ok=rate >= 1e7,
    )  # fmt: skip


def main() -> None:
    parts = {"nab": on_nab, "many": on_many}
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
