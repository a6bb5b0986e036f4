"""Recomputing the audit log's hash chain from its export."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from plumbline_common.audit import Chain


@dataclass
class Verifier:
    """Takes the lines of an export in their order. `known` is a head (position, hash) that was kept elsewhere."""

    known: tuple[int, str] | None = None
    chain: Chain = field(default_factory=Chain)
    entries: int = 0
    unsealed: int = 0
    place: int | None = None
    """The position of the entry that was checked last; None where it has none."""

    @property
    def head(self) -> tuple[int, str]:
        return self.chain.position, self.chain.hash.hex()

    def check(self, line: bytes) -> str | None:
        """What is wrong with the next entry; None where all is as it was written."""
        self.entries += 1
        self.place = None
        try:
            told = json.loads(line)
            position, text = told["position"], told["entry"]
            digest = bytes.fromhex(told["digest"])
            sealed = None if told["hash"] is None else bytes.fromhex(told["hash"])
            entry = json.loads(text)
            wanted, entity = entry["document"], entry["entity"]
        except (ValueError, TypeError, KeyError) as error:
            return f"line {self.entries} is no entry: {error!r}"
        if not (position is None or type(position) is int) or not isinstance(text, str):
            return f"line {self.entries} is no entry: position or entry is of another type"
        self.place = position
        if position is None:
            self.unsealed += 1
        return (
            self.chain.check(position, text, digest, sealed)
            or _document(told, wanted, entity == "requirement" and position is not None)
            or self._known(position)
        )

    def forget_unsealed(self) -> None:
        """Before the export goes on after the last position: what is not sealed comes again, at the end."""
        self.entries -= self.unsealed
        self.unsealed = 0

    def end(self) -> str | None:
        """What is wrong with an export that ends here."""
        self.place = None
        if self.known is not None and self.known[0] > self.chain.position:
            return f"the log ends before the head that was kept, position {self.known[0]}"
        return None

    def _known(self, position: int | None) -> str | None:
        if self.known is None or position != self.known[0] or self.chain.hash.hex() == self.known[1]:
            return None
        return "the hash is not the one that was kept: the log was written anew"


def _document(told: dict[str, Any], wanted: str | None, kept: bool) -> str | None:
    """What is wrong with the document of an entry whose digest of it is `wanted`; `kept`: the log must have it."""
    document, digest = told.get("document"), told.get("document_digest")
    if document is not None and hashlib.sha256(document.encode()).hexdigest() != wanted:
        return "the document is not what was written"
    if digest is not None and digest != wanted:
        return "the digest of the document is not what was written"
    if kept and wanted is not None and document is None and digest is None:
        return "the document is missing"
    return None
