import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbline_cli.verification import Verifier
from plumbline_common import audit


def exported(count: int = 5) -> list[dict[str, Any]]:
    chain, lines = audit.GENESIS, []
    for position in range(1, count + 1):
        document = json.dumps({"revision": position})
        entry = audit.canonical(
            {"entity": "requirement", "document": audit.digest(document).hex(), "reason": "\u2028 ä"}
        )
        chain = audit.link(chain, position, audit.digest(entry))
        lines.append(
            {"position": position, "entry": entry, "digest": audit.digest(entry).hex(), "hash": chain.hex(),
             "document": document, "document_digest": audit.digest(document).hex()}
        )  # fmt: skip
    return lines


def verified(lines: list[dict[str, Any]], known: tuple[int, str] | None = None) -> tuple[str | None, int | None]:
    verifier = Verifier(known)
    for line in lines:
        if reason := verifier.check(json.dumps(line).encode()):
            return reason, verifier.place
    return verifier.end(), verifier.place


def test_an_untouched_log_is_verified(shell: Any, service: Any) -> None:
    made = service.add(title="zwei Zeilen \u2028 sind eine")
    service.write(made["id"], {"title": "B"}, reason="\u2028 \x85 \x0b")
    result = shell("audit", "verify")
    assert result.exit_code == 0, result.output
    assert "2 entries are as they were written" in result.stdout
    head = f"{service.chain.position}:{service.chain.hash.hex()}"
    assert f"head {head}\n" in result.stdout
    assert shell("audit", "verify", "--head", head).exit_code == 0
    told = json.loads(shell("audit", "verify", "-o", "json").stdout)
    assert told == {
        "ok": True, "entries": 2, "unsealed": 0, "position": 2, "hash": service.chain.hash.hex(),
    }  # fmt: skip


def test_an_export_that_is_cut_goes_on(shell: Any, service: Any) -> None:
    made = service.add()
    for number in range(20):
        service.write(made["id"], {"title": str(number)})
    service.cut = 6000
    told = json.loads(shell("audit", "verify", "-o", "json").stdout)
    assert (told["ok"], told["entries"], told["hash"]) == (True, 21, service.chain.hash.hex())
    assert len([path for _, path, _ in service.asked if path.endswith("export")]) > 2


def test_an_export_that_does_not_come_on_is_a_failure(shell: Any, service: Any) -> None:
    service.add()
    service.cut = 0
    result = shell("audit", "verify")
    assert (result.exit_code, "does not answer" in result.stderr) == (1, True)


def test_an_empty_log_is_verified(shell: Any) -> None:
    assert f"head 0:{'0' * 64}" in shell("audit", "verify").stdout


def test_a_break_is_told_with_position_and_reason(shell: Any, service: Any) -> None:
    made = service.add()
    for number in range(6):
        service.write(made["id"], {"title": str(number)})
    service.log[3]["entry"] = service.log[3]["entry"].replace("rita", "ritb")
    result = shell("audit", "verify")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "position 4: the entry is not what was written" in result.stderr
    told = json.loads(shell("audit", "verify", "-o", "json").stdout)
    assert (told["ok"], told["broken_at"]) == (False, 4)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 4), st.sampled_from(["entry", "digest", "hash", "document", "document_digest"]), st.data())
def test_one_changed_byte_is_found_where_it_is(line: int, member: str, data: st.DataObject) -> None:
    lines = exported()
    text = lines[line][member]
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("0123456789abcdef").filter(lambda letter: letter != text[place]))
    lines[line][member] = text[:place] + other + text[place + 1 :]
    reason, position = verified(lines)
    assert reason is not None
    assert position in (line + 1, None)  # None: the line is no entry any more


@pytest.mark.parametrize("line", range(5))
def test_what_is_removed_doubled_moved_or_forged_is_found(line: int) -> None:
    lines = exported()
    head = 5, str(lines[4]["hash"])
    assert verified(lines, head) == (None, None)
    reason, _ = verified(lines[:line] + lines[line + 1 :], head)
    assert reason is not None
    reason, _ = verified([*lines[: line + 1], lines[line], *lines[line + 1 :]], head)
    assert reason == f"after position {line + 1} comes {line + 1}: entries are missing or doubled"
    forged = [dict(each) for each in lines]
    forged[line]["entry"] = forged[line]["entry"].replace("ä", "b")
    forged[line]["digest"] = hashlib.sha256(forged[line]["entry"].encode()).hexdigest()
    assert verified(forged) == ("the hash does not follow from the entries before it", line + 1)


def test_a_log_written_anew_is_found_by_a_head_kept_elsewhere(shell: Any, service: Any) -> None:
    service.add()
    result = shell("audit", "verify", "--head", f"1:{'ab' * 32}")
    assert result.exit_code == 1
    assert "position 1: the hash is not the one that was kept" in result.stderr
    late = shell("audit", "verify", "--head", f"9:{'ab' * 32}")
    assert (late.exit_code, "ends before the head" in late.stderr) == (1, True)
    assert shell("audit", "verify", "--head", "nonsense").exit_code == 2


def test_entries_that_are_not_sealed_yet_are_counted() -> None:
    lines = exported()
    entry = lines[0]["entry"]
    lines.append({"position": None, "entry": entry, "digest": lines[0]["digest"], "hash": None, "document": None})
    assert verified(lines) == (None, None)
    lines[-1]["digest"] = "00" * 32
    assert verified(lines) == ("the entry is not what was written", None)


def test_a_document_that_is_gone_is_found() -> None:
    lines = exported()
    lines[2] |= {"document": None, "document_digest": None}
    assert verified(lines) == ("the document is missing", 3)


@pytest.mark.parametrize("line", [b"", b"[]", b"{", b"null", b'{"position": "1"}', b"\xff"])
def test_a_line_that_is_no_entry_is_a_break(line: bytes) -> None:
    assert (Verifier().check(line) or "").startswith("line 1 is no entry")


def test_the_log_is_listed(shell: Any, service: Any) -> None:
    service.add(by="alice")
    made = service.add(by="bob")
    service.write(made["id"], {"title": "B"}, reason="clearer")
    result = shell("audit", "list", "REQ-2")
    assert result.exit_code == 0, result.output
    assert "2 of 2" in result.stdout
    assert "clearer" in result.stdout
    assert "alice" not in result.stdout
    told = json.loads(shell("audit", "list", "--limit", "1", "-o", "json").stdout)
    assert (len(told["items"]), told["total"]) == (1, 3)
