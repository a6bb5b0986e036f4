"""The checks of what is shipped: each is shown to fail."""

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def scan(file: Path) -> "subprocess.CompletedProcess[str]":
    script = [sys.executable, str(ROOT / ".ci" / "scan_secrets.py"), str(file)]
    return subprocess.run(script, capture_output=True, text=True)


# In parts, so that this file holds none.
@pytest.mark.parametrize(
    ("secret", "kind"),
    [
        ('key = "AKIA' + 'QYLPMN5HHXYZ7QWE"', "AWS Access Key"),
        ("-----BEGIN RSA " + "PRIVATE KEY-----", "Private Key"),
        ('token = "ghp' + '_wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx"', "GitHub Token"),
        ('url = "postgresql://plumbline:' + 'hunter5-Qx9@db.internal/plumbline"', "Basic Auth Credentials"),
    ],
)
def test_a_planted_secret_fails_the_scan(tmp_path: Path, secret: str, kind: str) -> None:
    planted = tmp_path / "settings.py"
    planted.write_text(f"import os\n{secret}\n")
    ended = scan(planted)
    assert ended.returncode == 1
    assert f"{planted}:2: {kind}" in ended.stderr.splitlines()


def test_what_is_no_secret_passes_the_scan(tmp_path: Path) -> None:
    plain = tmp_path / "settings.py"
    plain.write_text('password = os.environ["PASSWORD"]\n')
    assert scan(plain).returncode == 0


@pytest.fixture(scope="module")
def licences() -> Any:
    spec = importlib.util.spec_from_file_location("licences", ROOT / ".ci" / "licences.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("MPL-2.0 AND (AGPL-3.0-only OR LGPL-3.0-only)", False),
        ("BSD-2-Clause AND Apache-2.0 WITH LLVM-exception", True),
        ("none", False),
    ],
)
def test_a_licence_is_allowed_by_all_that_it_asks(licences: Any, expression: str, allowed: bool) -> None:
    assert licences.is_allowed(expression) is allowed


def test_a_dependency_of_another_licence_fails_the_check(
    licences: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tmp_path / "requirements.txt"
    asked.write_text(
        "pydantic==2 \\\n    --hash=sha256:00\ntorch==2 ; sys_platform == 'never' \\\n    --hash=sha256:00\n"
    )
    monkeypatch.setattr("sys.argv", ["licences.py", str(asked)])
    with pytest.raises(SystemExit, match="False"):
        licences.main()
    monkeypatch.setattr(licences, "ALLOWED", {"ISC"})
    with pytest.raises(SystemExit, match="True"):
        licences.main()
    assert "pydantic: MIT is not among the licences" in capsys.readouterr().err


def test_all_that_is_locked_has_a_hash() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    files = [
        file for package in lock["package"] for file in (*package.get("wheels", ()), package.get("sdist")) if file
    ]
    assert len(files) > len(lock["package"])
    assert all(file["hash"].startswith("sha256:") for file in files)
    # Of what nobody installs here (torch) the lock names no file.
    assert {next(iter(package["source"])) for package in lock["package"]} == {"registry", "editable", "virtual"}
