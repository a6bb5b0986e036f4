"""An edit in the user's editor that loses neither their text nor what others wrote meanwhile."""

import contextlib
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.text import Text

from plumbline_cli import diffs, forms, merging, shell
from plumbline_cli.client import Refused
from plumbline_cli.shell import Caller, Code, Told

TRIES = 10
"""How often a change may be overtaken by others before it is given up."""


@dataclass(frozen=True)
class Remote:
    """One requirement on the gateway."""

    caller: Caller
    path: str
    reason: str

    def now(self) -> tuple[dict[str, Any], str]:
        """What it says, and the ETag of that."""
        response = self.caller.ask(lambda gateway: gateway.send("GET", self.path))
        return response.json(), response.headers["etag"]

    def revision(self, number: int) -> dict[str, Any]:
        said: dict[str, Any] = self.caller.get(f"{self.path}/revisions/{number}")
        return said

    def change(self, patch: Mapping[str, Any], etag: str) -> dict[str, Any]:
        query = {"reason": self.reason} if self.reason else {}
        changed: dict[str, Any] = self.caller.ask(
            lambda gateway: gateway.send(
                "PATCH", self.path, json=patch, params=query,
                headers={"If-Match": etag, "Content-Type": "application/merge-patch+json"},
            )
        ).json()  # fmt: skip
        return changed


@dataclass
class Desk:
    """The files that are edited. They lie where a crash leaves them, until what they say is written."""

    key: str
    files: list[Path] = field(default_factory=list)
    untouched: str = ""
    """The text that is of no worth to anyone: what the gateway said."""

    def lay(self, text: str) -> None:
        """Put a text into a new file; the ones before stay."""
        name = re.sub(r"[^\w-]", "_", self.key)
        handle, path = tempfile.mkstemp(".yaml", f"{name}-", _folder())
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        self.files.append(Path(path))

    def edited(self, text: str) -> str:
        """What the user makes of `text`."""
        path = self.files[-1]
        path.write_text(text, encoding="utf-8")
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        try:
            ended = subprocess.run([*shlex.split(editor), str(path)], check=False)  # noqa: S603 - the user's own
        except (OSError, ValueError) as error:
            raise Told(f"the editor {editor} does not start ({error}); set VISUAL or EDITOR") from None
        if ended.returncode:
            raise Told(f"the editor {editor} ended with {ended.returncode}; nothing was written")
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise Told("the text is not UTF-8; nothing was written", Code.USAGE) from None
        except OSError as error:
            raise Told(f"the text cannot be read: {error}") from None

    def clear(self) -> None:
        for path in self.files:
            path.unlink(missing_ok=True)

    def kept(self) -> Path | None:
        """The file with the user's newest text; None, and nothing left behind, where they wrote none."""
        for path in self.files:
            with contextlib.suppress(OSError):
                if path.read_bytes() == self.untouched.encode():
                    path.unlink()
        return next((path for path in reversed(self.files) if path.exists()), None)


def edit(remote: Remote, file: Path | None = None) -> tuple[dict[str, Any], list[str]]:
    """Let the user change a requirement. Returns what it is then, and the members that changed.

    Raises `Told`, `Refused` or `httpx.HTTPError`; the text is then in a file that was told.
    """
    document, etag = remote.now()
    text = None
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Told(f"{file}: {error}", Code.USAGE) from None
        document, etag = _made_of(remote, text, document, etag)
    desk = Desk(str(document["key"]))
    try:
        done = _Edit(remote, desk, document, etag).run(text)
    except BaseException:
        if kept := desk.kept():
            again = f"plumbline requirements edit {desk.key} --file {shlex.quote(str(kept))}"
            _say(f"your text is kept in {kept}\n  go on with it: {again}")
        raise
    desk.clear()
    if file is not None and done[1] and _folder() == file.resolve().parent:
        file.unlink(missing_ok=True)
    return done


def _made_of(remote: Remote, text: str, document: dict[str, Any], etag: str) -> tuple[dict[str, Any], str]:
    """The revision that the text was made of, so that what others wrote since is not undone."""
    key, revision = forms.written_for(text) or (document["key"], document["revision"])
    if key != document["key"]:
        raise Told(f"the text is of {key}, not of {document['key']}", Code.USAGE)
    return (document, etag) if revision == document["revision"] else (remote.revision(revision), f'"{revision}"')


class _Edit:
    """The state of one edit: what the text is based on, and why it is in the editor again."""

    def __init__(self, remote: Remote, desk: Desk, document: dict[str, Any], etag: str) -> None:
        self.remote = remote
        self.desk = desk
        self.document = document
        self.etag = etag
        self.base = forms.editable(document)
        self.open: Exception | None = None
        """What is to be settled in the text; raised where the user leaves it as it is."""

    def run(self, text: str | None) -> tuple[dict[str, Any], list[str]]:
        first = forms.render(self.base, self.desk.key, self.document["revision"])
        self.desk.untouched = first
        shown = first if text is None else text
        self.desk.lay(shown)
        while True:
            written = self.desk.edited(shown)
            if self.open is None and (written == first or forms.is_empty(written)):
                self.desk.files[-1].write_text(first, encoding="utf-8")
                return self.document, []
            if self.open is not None and (written == shown or forms.is_empty(written)):
                self.desk.files[-1].write_text(shown, encoding="utf-8")
                raise self.open
            done, shown = self._write(written)
            if done is not None:
                return done

    def _write(self, text: str) -> tuple[tuple[dict[str, Any], list[str]] | None, str]:
        """Write what the text says; where that cannot be, the text for the editor."""
        if parts := forms.unsettled(text):
            return self._again(
                text, Told(f"not settled yet: {', '.join(parts)}; delete the CONFLICT line", Code.CONFLICT)
            )
        try:
            mine = forms.parse(text)
        except forms.NotAForm as error:
            return self._again(text, Told(str(error), Code.USAGE))
        for _ in range(TRIES):
            patch = merging.patch(self.base, mine)
            if not patch:
                return (self.document, []), text
            try:
                return (self.remote.change(patch, self.etag), list(patch)), text
            except Refused as error:
                if error.status == 422:
                    return self._again(text, error)
                if error.status != 412:
                    raise
            merged = self._overtaken(mine)
            mine = merged.content
            text = forms.render(mine, self.desk.key, self.document["revision"], (), merged.conflicts)
            self.desk.lay(text)
            if merged.conflicts:
                names = ", ".join("/".join(conflict.path) for conflict in merged.conflicts)
                self.open = Told(f"changed on both sides: {names}; nothing was written", Code.CONFLICT)
                return None, text
        raise Told("others change it faster than this could be written", Code.CONFLICT)

    def _again(self, text: str, reason: Exception) -> tuple[None, str]:
        self.open = reason
        return None, forms.complain(text, reason.reasons if isinstance(reason, Refused) else [str(reason)])

    def _overtaken(self, mine: merging.Content) -> merging.Merged:
        """Base the edit on what others wrote meanwhile."""
        self.document, self.etag = self.remote.now()
        theirs = forms.editable(self.document)
        merged = merging.merge(self.base, mine, theirs)
        self.base = theirs
        changed = f"; kept of theirs: {', '.join(merged.taken)}" if merged.taken else ""
        _say(
            f"{self.desk.key} was changed meanwhile by {self.document['updated_by']}"
            f" (revision {self.document['revision']}){changed}"
        )
        return merged


def _folder() -> Path | None:
    """Where edits lie; None for the system's temporary folder."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    folder = Path(state) / "plumbline" / "edits"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return folder.resolve() if os.access(folder, os.W_OK) else None


def _say(line: str) -> None:
    shell.errors.print(Text.assemble(("! ", "yellow"), diffs.plain(line)), soft_wrap=True)
