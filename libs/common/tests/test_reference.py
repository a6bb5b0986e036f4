"""The references of metrics and log messages against the code, and the other pages against them."""

import re
from itertools import chain
from pathlib import Path

import pytest

from plumbline_common import reference
from plumbline_common.instruments import Instrument

ROOT = Path(__file__).parents[3]
PAGES = [path for path in sorted((ROOT / "docs").rglob("*.md")) if path.name not in ("metrics.md", "log-messages.md")]


@pytest.fixture(scope="module")
def metrics() -> list[Instrument]:
    return reference.every(ROOT)


def test_the_pages_are_what_the_code_says() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == reference.metrics_page(ROOT)
    assert reference.log_drift((ROOT / "docs" / "log-messages.md").read_text(), ROOT) == []


def test_no_instrument_is_made_without_a_declaration() -> None:
    for path in chain.from_iterable((ROOT / source).rglob("*.py") for source in reference.SOURCES.values()):
        if path.name != "instruments.py":
            assert not re.search(r"\.create_(observable_)?(counter|gauge|histogram|up_down)", path.read_text()), path


def test_units_and_names_are_opentelemetry_s(metrics: list[Instrument]) -> None:
    for each in metrics:
        assert re.fullmatch(r"s|By|1|\{[a-z]+\}", each.unit), each
        assert re.fullmatch(
            r"(plumbline|http\.(?:client|server)|db\.client|process|system)(\.[a-z_]+)+", each.name
        ), each
        assert all(re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", name) for name in each.attributes), each


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT / "docs")))
def test_a_metric_that_a_page_names_is_there(page: Path, metrics: list[Instrument]) -> None:
    known = {name for each in metrics for name in reference.exposed(each.name, each.unit, each.kind)}
    text = page.read_text()
    named = set(re.findall(r"\b(?:plumbline|http_server|db_client)_[a-z_]+\b(?![-.\w])", text))
    assert {name for name in named if name not in reference.SOURCES} <= known
    dotted = {name for each in metrics for name in (each.name, *each.attributes)}
    found = set(re.findall(r"`(plumbline\.(?:analysis|outbox|consumer|event_loop|job|validation)\.[a-z_.]+)`", text))
    assert found <= dotted


def test_a_message_that_is_nowhere_told_is_named_and_one_that_nobody_logs(tmp_path: Path) -> None:
    module = tmp_path / reference.SOURCES["plumbline_search"] / "plumbline_search" / "new.py"
    module.parent.mkdir(parents=True)
    module.write_text('log.exception("%s broke")\nlog.log(level, "it is so")\nlog.info("fine")\nlog.error(said)\n')
    page = "| error | `plumbline_search.new` | `%s broke` | a |\n| warning | `plumbline_search.new` | `gone` | b |\n"
    lacking = reference.log_drift(page, tmp_path)
    assert [each.split("text=")[1] for each in lacking] == [
        "'said')",
        "'it is so')",
        "'gone'), which no code logs",
    ]


def test_the_rules_that_an_alert_takes_its_values_from_are_its_own(metrics: list[Instrument]) -> None:
    rows = [line for line in reference.metrics_page(ROOT).splitlines() if "`http.server.request.duration`" in line]
    assert len(rows) == 1
    assert "PlumblineLatencyBurnsFast" in rows[0]
