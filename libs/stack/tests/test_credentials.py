from pathlib import Path

from plumbline_stack.credentials import Credentials


def test_a_secret_is_made_once_and_stays(tmp_path: Path) -> None:
    secret = Credentials(tmp_path / "secrets").get("fault")
    assert len(secret) == 32
    assert Credentials(tmp_path / "secrets").get("fault") == secret
    assert Credentials(tmp_path / "secrets").get("other") != secret


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    credentials = Credentials(tmp_path / "secrets")
    credentials.get("fault")
    assert credentials.folder.stat().st_mode & 0o777 == 0o700
    assert (credentials.folder / "fault").stat().st_mode & 0o777 == 0o600
