"""NAB: the streaming detection engine on the Numenta Anomaly Benchmark, by NAB's own rule of scoring.

`python benchmarks/nab.py`: figures as JSON lines. EXPORT=<folder> also writes the scores in NAB's results format
(`timestamp,value,anomaly_score,label`), so that NAB's own scorer can be run on them. BENCH_NAB says where the data
(`data`, `labels`, `config` of NAB 1.1) stand.
"""

import csv
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import harness
import numpy as np
from nab_rule import PROFILES, STANDARD, Float64, Series, left_out, only, swept, worth

from plumbline_analysis.detection import streams

DATA = Path(os.environ.get("BENCH_NAB", harness.HERE.parents[1] / "shared" / "data" / "nab"))
DETECTOR = "plumbline"
OWN_THRESHOLD = 1.0
WEEK_US = 7 * 86_400_000_000


# --- The data ------------------------------------------------------------------------------------------------


def microseconds(stamp: str) -> int:
    moment = datetime.fromisoformat(stamp).replace(tzinfo=UTC)
    return round(moment.timestamp()) * 1_000_000 + moment.microsecond


def read(folder: Path) -> list[Series]:
    """All files that have labels, in the order of their names."""
    labels = json.loads((folder / "labels" / "combined_windows.json").read_text())
    corpus = []
    for name in sorted(labels):
        with (folder / "data" / name).open(newline="") as file:
            lines = list(csv.reader(file))[1:]
        at = np.array([microseconds(stamp) for stamp, _ in lines], np.int64)
        bounds = [tuple(int(np.argmax(at == microseconds(end))) for end in window) for window in labels[name]]
        corpus.append(
            Series(
                name,
                at,
                np.array([float(value) for _, value in lines]),
                tuple((left, right) for left, right in sorted(bounds)),
                tuple(stamp for stamp, _ in lines),
            )
        )
    return corpus


def export(folder: Path, corpus: Sequence[Series], scores: Sequence[Float64]) -> None:
    """NAB's results format: `<detector>/<domain>/<detector>_<file>`, scores between 0 and 1, the order kept."""
    for series, given in zip(corpus, scores, strict=True):
        domain, _, name = series.name.partition("/")
        path = folder / DETECTOR / domain / f"{DETECTOR}_{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        inside = worth(len(series.values), series.windows)[1] >= 0
        finite = np.nan_to_num(given, nan=0.0)
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("timestamp", "value", "anomaly_score", "label"))
            # s / (1 + s) keeps the order, so that the same detections are made at the same thresholds.
            for stamp, value, score, label in zip(series.stamps, series.values, finite, inside, strict=True):
                writer.writerow((stamp, repr(float(value)), repr(float(score / (1.0 + score))), int(label)))


def judged(series: Series) -> Float64:
    """Where the engine sees an event begin or grow in one file, point after point; NaN while it is learning."""
    engine = streams.Engine(1)
    return engine.run(np.zeros(len(series.values), np.int64), series.at, series.values).fresh


def report(corpus: Sequence[Series], scores: Sequence[Float64]) -> None:
    steps = swept(corpus, scores)
    best, threshold = steps.best(STANDARD)
    _figure("nab_standard", best, 75.0, f"one threshold of {threshold:.3f}; ARTime 74.9, HTM 70.5, CAD OSE 69.9")
    _figure("nab_low_fp", steps.best(PROFILES["reward_low_FP_rate"])[0], None, "ARTime 65.1, HTM 62.6, CAD OSE 67.0")
    _figure("nab_low_fn", steps.best(PROFILES["reward_low_FN_rate"])[0], None, "ARTime 80.4, HTM 75.2, CAD OSE 73.2")
    own = steps.at(STANDARD, OWN_THRESHOLD)
    _figure("nab_own_threshold", own, best - 5.0, f"score >= 1; at best threshold {best:.1f}")
    without, parts = left_out(corpus, scores, STANDARD)
    _figure(
        "nab_leave_one_domain_out", without, None, ", ".join(f"{name} {part:.1f}" for name, part in parts.items())
    )
    hard = swept(*only(corpus, scores, ["realKnownCause", "realAWSCloudwatch"])).best(STANDARD)[0]
    _figure("nab_known_cause_aws", hard, 66.0, "ARTime 67.7, HTM 66.5, random cut forest 52")
    for domain in parts:
        steps = swept(*only(corpus, scores, [domain]))
        _figure(f"nab_{domain}", steps.at(STANDARD, OWN_THRESHOLD), None, f"score >= 1; {steps.windows} windows")


def _figure(metric: str, value: float, bar: float | None, against: str) -> None:
    ok = None if bar is None else value >= bar
    harness.row("detection", metric, value, "NAB score", against=against, bar=bar, ok=ok)


def quiet(corpus: Sequence[Series], scores: Sequence[Float64]) -> None:
    """Alarms in the files in which nothing is wrong, their probation included."""
    files, given = only(corpus, scores, ["artificialNoAnomaly"])
    weeks = sum(float(series.at[-1] - series.at[0]) for series in files) / WEEK_US
    alarms = sum(int((score >= OWN_THRESHOLD).sum()) for score in given) / weeks
    harness.row(
        "detection", "false_alarms_per_series_week", alarms, "alarms", against="the five files without anomalies",
        bar=1.0, ok=alarms <= 1.0,
    )  # fmt: skip


def main() -> None:
    if not (DATA / "labels").is_dir():
        harness.say(f"NAB is left out: there are no data in {DATA}; say where with BENCH_NAB")
        return
    corpus = read(DATA)
    scores = [judged(series) for series in corpus]
    if folder := os.environ.get("EXPORT"):
        export(Path(folder), corpus, scores)
        harness.say(f"results in NAB's format are in {folder}")
    report(corpus, scores)
    quiet(corpus, scores)


if __name__ == "__main__":
    main()
