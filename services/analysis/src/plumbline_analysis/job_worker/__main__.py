"""`python -m plumbline_analysis.job_worker --processes 2`: any number may run, anywhere."""

import argparse
import os
from pathlib import Path

import uvloop

from plumbline_analysis.job_worker.process import serve
from plumbline_analysis.kinds import KINDS, prepare
from plumbline_analysis.settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser("plumbline_analysis.job_worker", description="Does the analysis service's jobs.")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="jobs at a time (default: CPUs)")
    parser.add_argument(
        "--health-file", type=Path, help="touched every few seconds, while the worker speaks to the database"
    )
    asked = parser.parse_args()
    if asked.processes < 1:
        parser.error("a worker has at least one process")
    uvloop.run(serve(Settings.from_environment(), KINDS, asked.processes, asked.health_file, prepare))


if __name__ == "__main__":
    main()
