"""`python benchmarks/run.py [NAME …]`: run benches, each in a process of its own, and draw a table of the figures.

Without names all but the `LONG`, which fill a database with millions of rows first.
"""

import asyncio
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
DETECTION = ("streams", "nab", "vus", "batch", "logs")
"""What `detection` stands for."""
BENCHES = (
    "crud",
    "events",
    "ingest",
    "cardinality",
    "analysis",
    "jobs",
    "watchdog",
    "overload",
    "capacity",
    *DETECTION,
    "requirements",
    "search",
)
LONG = ("requirements", "search", "analysis")


async def bench(name: str) -> list[dict[str, object]]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / f"{name}.py"), stdout=asyncio.subprocess.PIPE, cwd=HERE
    )
    figures = []
    assert child.stdout is not None
    async for line in child.stdout:
        print(line.decode(), end="", flush=True)
        figures.append(json.loads(line))
    if await child.wait():
        print(f"the bench {name} did not come to its end", file=sys.stderr)
    return figures


def table(figures: list[dict[str, object]]) -> Table:
    drawn = Table(title="benches")
    for column in ("bench", "metric", "value", "unit", "ratio", "bar", "", "against"):
        drawn.add_column(column)
    for figure in figures:
        held = {True: "[green]✓[/]", False: "[red]✗[/]", None: ""}[figure["ok"]]  # type: ignore[index]
        cells = [figure[name] for name in ("bench", "metric", "value", "unit", "ratio", "bar")]
        drawn.add_row(*("" if cell is None else str(cell) for cell in cells), held, str(figure["against"] or ""))
    return drawn


async def main() -> None:
    asked = sys.argv[1:] or [name for name in BENCHES if name not in LONG]
    names = [name for each in asked for name in (DETECTION if each == "detection" else (each,))]
    if unknown := set(names) - set(BENCHES):
        sys.exit(f"no such bench: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)} and detection")
    figures = [figure for name in names for figure in await bench(name)]
    Console(stderr=True, width=150).print(table(figures))


if __name__ == "__main__":
    asyncio.run(main())
