"""`plumbline slo`: SLOs as OpenSLO v1 files, as a team keeps them in git."""

import difflib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid4

import typer
from rich.text import Text

from plumbline_cli import diffs, files
from plumbline_cli.client import Refused
from plumbline_cli.shell import EXIT_CODES, Caller, Code, calling, console, fail, many
from plumbline_common.openslo import checking, prometheus
from plumbline_common.openslo.checking import Checked, Finding, Located
from plumbline_common.openslo.objects import SLO
from plumbline_common.openslo.writing import document, dump, write

app = typer.Typer(
    help="SLOs as code: OpenSLO v1 in YAML or JSON.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
)

PATH = "/api/v1/openslo"
IMPORT_SECONDS = 120.0
Kind = Literal["SLO", "SLI", "Service", "DataSource", "AlertPolicy", "AlertCondition", "AlertNotificationTarget"]
LARGEST = 16 * 2**20
"""Bytes of one file."""
_SIGNS = {"+": "green", "-": "red", "~": "yellow", "@": "cyan"}
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


@app.command(epilog=EXIT_CODES)
def rules(
    paths: Files,
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; default: standard output")] = None,
) -> None:
    """Make Prometheus rules of SLOs: recorded error ratios and multi-window burn-rate alerts.

    All of the files become rules, or none of them do.
    """
    checked = _valid(paths)
    things = [each.object for each in checked.objects]
    groups: list[dict[str, Any]] = []
    faults: list[Finding] = []
    for located in checked.objects:
        if isinstance(located.object, SLO):
            try:
                groups += prometheus.rules(located.object, things)
            except prometheus.NotForPrometheus as error:
                faults.append(located.finding("error", error.path, error.reason))
    if faults:
        tell(Checked(checked.objects, faults))
        raise typer.Exit(Code.USAGE)
    if not groups:
        fail("there is no SLO among these", Code.USAGE)
    text = dump({"groups": groups})
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text)


@app.command(epilog=EXIT_CODES)
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A file or a folder")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="A file or a folder")],
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print")] = "text",
) -> None:
    """Show what lies between two sets of OpenSLO files, object by object. Ends with 1 where they differ."""
    before, after = (_documents(_valid([path])) for path in (old, new))
    changes = [
        {"kind": each[0], "name": each[1], "before": before.get(each), "after": after.get(each)}
        for each in sorted(before.keys() | after.keys())
        if before.get(each) != after.get(each)
    ]
    if output == "json":
        typer.echo(json.dumps(changes, indent=2, ensure_ascii=False))
    for change in changes if output == "text" else []:
        sign = "+" if change["before"] is None else "-" if change["after"] is None else "~"
        console.print(Text(f"{sign} {change['kind']} {change['name']}", style=_SIGNS[sign]), soft_wrap=True)
        if sign == "~":
            sides = [dump(change[side]).splitlines() for side in ("before", "after")]
            for line in list(difflib.unified_diff(sides[0], sides[1], n=1, lineterm=""))[2:]:
                console.print(Text(f"    {diffs.plain(line)}", style=_SIGNS.get(line[0], "")), soft_wrap=True)
    if changes:
        raise typer.Exit(Code.FAILED)


@app.command("import", epilog=EXIT_CODES)
@calling("editor")
def import_(
    caller: Caller,
    paths: Files,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change")] = False,
    owner_team: Annotated[str | None, typer.Option(help="Owns the requirements that are made")] = None,
    reason: Annotated[str, typer.Option(help="Why; it stands in the history and in the audit log")] = "",
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print")] = "text",
) -> None:
    """Take OpenSLO files into Plumbline: all of them, or nothing where one is wrong.

    An SLO changes the requirement that pins it, as a new draft revision; one that is new makes a requirement.
    """
    checked = _valid(paths)
    query = {"dry_run": dry_run, "owner_team": owner_team, "reason": reason}
    text = write(each.object for each in checked.objects)
    headers = {"Content-Type": "application/yaml", "Idempotency-Key": str(uuid4())}
    try:
        response = caller.ask(
            lambda gateway: gateway.send(
                "POST",
                f"{PATH}/import",
                params={name: value for name, value in query.items() if value is not None},
                content=text.encode(),
                headers=headers,
                timeout=IMPORT_SECONDS,
            )
        )
    except Refused as refused:
        places = [each for each in refused.problem.get("errors") or [] if "document" in each]
        if not places:
            raise
        tell(Checked((), [_found(checked, each, "error") for each in places]))
        raise typer.Exit(Code.USAGE) from None
    done = response.json()
    if output == "json":
        typer.echo(json.dumps(done, indent=2, ensure_ascii=False))
        return
    tell(Checked((), [_found(checked, each, "warning") for each in done["warnings"]]))
    for change in done["changes"]:
        _tell_change(change)
    counts = f"{done['created']} created, {done['updated']} updated, {done['unchanged']} unchanged"
    console.print(f"{counts}{'; nothing was written (dry run)' if dry_run else ''}")


def _found(checked: Checked, place: dict[str, Any], severity: Literal["error", "warning"]) -> Finding:
    """What the server said of a document of the one text that it was sent, at its place in the files."""
    located: Located = checked.objects[place["document"] - 1]
    parts = [part.replace("~1", "/").replace("~0", "~") for part in place["pointer"].split("/")[1:]]
    path = tuple(int(part) if part.isdecimal() else part for part in parts)
    return located.finding(severity, path, place["detail"])


def _tell_change(change: dict[str, Any]) -> None:
    sign = {"created": "+", "updated": "~"}.get(change["action"])
    if sign is None:
        return
    named = change["requirement"]
    where = f" of {named['key']} (revision {named['revision']})" if named else ""
    because = f": {change['because']}" if change["because"] else ""
    line = f"{sign} {change['kind']} {change['name']}{where}{because}"
    console.print(Text(diffs.plain(line), style=_SIGNS[sign]), soft_wrap=True)
    for each in change["differences"]:
        before, after = (json.dumps(each[side], ensure_ascii=False) for side in ("before", "after"))
        console.print(Text(diffs.plain(f"    {each['pointer']}: {before} → {after}")), soft_wrap=True)


@app.command(epilog=EXIT_CODES)
@calling("viewer")
def export(
    caller: Caller,
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; default: standard output")] = None,
    kind: Annotated[
        Kind | None, typer.Option(help="Only objects of this kind; SLOs and what they share where left out")
    ] = None,
    service: Annotated[str | None, typer.Option(help="Of requirements of this service")] = None,
    owner_team: Annotated[str | None, typer.Option(help="Of requirements of this team")] = None,
    in_force: Annotated[bool, typer.Option("--in-force", help="As production is held against them")] = False,
    format: Annotated[Literal["yaml", "json", "prometheus"], typer.Option("--format", "-f")] = "yaml",
) -> None:
    """Write SLOs as OpenSLO files, or as Prometheus rules (of those in force)."""
    rules = format == "prometheus"
    query = {"service": service, "owner_team": owner_team, "kind": None if rules else kind}
    query |= {"format": None} if rules else {"format": format, "which": "in_force" if in_force else "present"}
    kept = {name: value for name, value in query.items() if value is not None}
    end = "]" if format == "json" else "#"
    files.download(caller, f"{PATH}/{'rules' if rules else 'export'}", kept, out, lambda last: last.startswith(end))


def _valid(paths: list[Path]) -> Checked:
    """What the files hold. Ends the program where there is an error in them."""
    checked = checking.check(texts(paths))
    if not checked.ok:
        tell(Checked(checked.objects, [each for each in checked.findings if each.severity == "error"]))
        raise typer.Exit(Code.USAGE)
    return checked


def _documents(checked: Checked) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {checking.identity(each.object): document(each.object) for each in checked.objects}


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
