"""`plumbline requirements what-if`: the SLOs of a requirement over stored history, before they are in force."""

from typing import Annotated, Any
from uuid import uuid4

import typer
from rich.text import Text

from plumbline_cli import draw, jobs, requirements, shell
from plumbline_cli.shell import Caller, Code, calling, console, fail, many

PATH = "/api/v1/what-if"
WIDTH = 72
ALERTS = 5
"""Told of each objective; JSON and YAML have more."""


@requirements.app.command("what-if", epilog=shell.EXIT_CODES)
@calling("operator")
def what_if(
    caller: Caller,
    id: requirements.Id,
    slo: Annotated[str | None, typer.Option(metavar="NAME", help="One of its SLOs; default: all of them")] = None,
    target: Annotated[
        list[float] | None,
        typer.Option(min=0, max=1, help="Another target for each objective, such as 0.995; repeatable, to compare"),
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="RFC 3339; default: 14 days before --to")] = None,
    end: Annotated[str | None, typer.Option("--to", help="RFC 3339; default: now")] = None,
    output: shell.Format = "table",
) -> None:
    """Hold stored history against a requirement's SLOs: the budget they would have burned, the alerts fired."""
    found = caller.get(f"{requirements.PATH}/{requirements.id_of(caller, id)}")
    wanted = [each for each in found["slos"] if slo in (None, each["name"])]
    if not wanted:
        fail(f"{found['key']} has no SLO {slo}" if slo else f"{found['key']} has no SLOs", Code.USAGE)
    span = {name: value for name, value in (("start", start), ("end", end)) if value is not None}
    tries = [
        tried for each in wanted for tried in ([each] if target is None else [_with(each, one) for one in target])
    ]
    results = [_tried(caller, {"slo": each, "service": found["service"]} | span) for each in tries]
    if output != "table":
        return shell.write({"items": results}, output)
    for result in results:
        for objective in result["objectives"]:
            _show(objective, result)
    return None


def _tried(caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
    asked = caller.ask(lambda gateway: gateway.post(PATH, body, str(uuid4()))).json()
    result: dict[str, Any] = jobs.followed(caller, asked["id"])["result"]
    return result


def _with(slo: dict[str, Any], target: float) -> dict[str, Any]:
    objectives = [
        {name: value for name, value in each.items() if name != "targetPercent"} | {"target": target}
        for each in slo["objectives"]
    ]
    return slo | {"objectives": objectives}


def _show(objective: dict[str, Any], result: dict[str, Any]) -> None:
    span = f"{shell.moment(result['start'])} to {shell.moment(result['end'])}"
    console.print(
        Text(f"{objective['slo']}, target {objective['target']:.6g}", style="bold"), Text(span, style="dim")
    )
    if objective["missing"]:
        return console.print(Text(f"  {objective['missing']}; {result['signals']} signals match", style="yellow"))
    burned, spent = objective["budget_burned"], objective["exhausted_at"]
    said = f"  {objective['sli']:.5%} good"
    if burned is not None:
        said += f", {burned:.0%} of the budget burned"
    said += f", spent first at {shell.moment(spent)}" if spent else ""
    said += f", {many(objective['pages'], 'page')}, {many(objective['tickets'], 'ticket')}"
    console.print(Text(said, style="red" if spent else ""), soft_wrap=True)
    curve = [
        {"value": each["budget_remaining"], "lower": 0.0, "upper": 1.0, "score": -each["budget_remaining"]}
        for each in objective["curve"]
        if each["budget_remaining"] is not None
    ]
    console.print("  budget", draw.sparkline(curve, min(WIDTH, console.width - 10)))
    for alert in objective["alerts"][:ALERTS]:
        until = shell.moment(alert["ended_at"]) if alert["ended_at"] else "now"
        console.print(
            f"  {alert['severity']} {shell.moment(alert['started_at'])} to {until}, {alert['burn_rate']:.1f}×"
        )
    if len(objective["alerts"]) > ALERTS:
        console.print(Text(f"  {len(objective['alerts']) - ALERTS} more; --output json has them", style="dim"))
    return None
