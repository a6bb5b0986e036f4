"""`plumbline slo`: SLOs as OpenSLO v1 files, as a team keeps them in git."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from plumbline_cli import diffs
from plumbline_cli.shell import EXIT_CODES, Code, console, fail, many
from plumbline_common.openslo import checking
from plumbline_common.openslo.checking import Checked, Finding

app = typer.Typer(
    help="SLOs as code: OpenSLO v1 in YAML or JSON.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
)

LARGEST = 16 * 2**20
"""Bytes of one file."""
SUFFIXES = (".yaml", ".yml", ".json")

Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH…", help="Files, folders (all .yaml, .yml and .json in them), or - for standard input"
    ),
]


@app.command(epilog=EXIT_CODES)
def validate(
    paths: Files,
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print")] = "text",
    strict: Annotated[bool, typer.Option("--strict", help="A warning is a failure too")] = False,
) -> None:
    """Check OpenSLO v1 files against the specification, without a server. The files are checked as one set."""
    checked = checking.check(texts(paths))
    warnings = sum(finding.severity == "warning" for finding in checked.findings)
    faults = len(checked.findings) - warnings
    if output == "json":
        found = [asdict(finding) for finding in checked.findings]
        typer.echo(json.dumps({"objects": len(checked.objects), "findings": found}, indent=2, ensure_ascii=False))
    else:
        tell(checked)
        console.print(f"{many(len(checked.objects), 'object')}, {many(faults, 'error')}, {many(warnings, 'warning')}")
    if faults or (strict and warnings):
        raise typer.Exit(Code.USAGE)


def texts(paths: list[Path]) -> dict[str, str]:
    """The text of each file by its name. Ends the program where one cannot be read."""
    found: dict[str, str] = {}
    for path in paths:
        if str(path) == "-":
            found["-"] = _decoded("-", sys.stdin.buffer.read(LARGEST + 1))
            continue
        files = sorted(each for each in path.rglob("*") if each.suffix in SUFFIXES) if path.is_dir() else [path]
        if not files:
            fail(f"{path}: holds no .yaml, .yml or .json file", Code.USAGE)
        for file in files:
            try:
                with file.open("rb") as opened:
                    found[str(file)] = _decoded(str(file), opened.read(LARGEST + 1))
            except OSError as error:
                fail(f"{file}: {error.strerror}", Code.USAGE)
    return found


def tell(checked: Checked) -> None:
    """Print each finding on a line that editors and pipelines understand: file:line:column: …"""
    for finding in checked.findings:
        console.print(_line(finding), soft_wrap=True)


def _line(finding: Finding) -> Text:
    style = "bold red" if finding.severity == "error" else "yellow"
    where = f"{finding.file}:{finding.line}:{finding.column}: "
    what = f"{finding.pointer or '/'} {finding.reason}"
    subject = f" ({finding.subject})" if finding.subject else ""
    return Text.assemble(diffs.plain(where), (finding.severity, style), ": ", diffs.plain(what + subject))


def _decoded(name: str, content: bytes) -> str:
    if len(content) > LARGEST:
        fail(f"{name}: is larger than {LARGEST // 2**20} MiB; split it", Code.USAGE)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fail(f"{name}: is not UTF-8: byte {error.start}", Code.USAGE)
