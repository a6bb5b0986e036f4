from pathlib import Path

import pytest

from plumbline_cli import catalog

EXAMPLES = Path(__file__).parents[2] / "examples" / "plumbline.yaml"


def test_the_examples_become_requirements() -> None:
    bodies = catalog.read(EXAMPLES)
    assert [body["labels"]["name"] for body in bodies] == [
        "gateway-latency",
        "gateway-errors",
        "event-lag",
        "host-memory",
    ]
    assert all(body["slos"] for body in bodies)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "not YAML"),
        ("- a", "document 1: needs apiVersion"),
        ("apiVersion: plumbline/v1\nkind: Requirement\nspec: {}\n---\nkind: Slo\nspec: {}", "document 2: needs"),
        ("apiVersion: plumbline/v1\nkind: Requirement\nspec: {labels: [a]}", "document 1: metadata and labels"),
        ("apiVersion: plumbline/v1\nkind: Requirement\nmetadata: a\nspec: {}", "document 1: metadata and labels"),
    ],
)
def test_what_is_no_catalog_says_where(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "requirements.yaml"
    file.write_text(text)
    with pytest.raises(catalog.NotACatalog, match=reason):
        catalog.read(file)
