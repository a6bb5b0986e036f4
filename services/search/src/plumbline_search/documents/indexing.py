"""Make a document searchable, or remove it."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import offload, outbox
from plumbline_common.errors import Unavailable
from plumbline_common.events import DocumentIndexed
from plumbline_search.documents import content, repository
from plumbline_search.documents.content import Content, Document
from plumbline_search.embedding.embedder import Urgency
from plumbline_search.indexes.repository import Index
from plumbline_search.indexes.serving import Serving

_LONG = 20_000
"""Characters that are analysed on the event loop: some 10 ms. More go to a thread."""


class Swapped(Unavailable):
    slug = "index-swapped"
    title = "Another index has become the live one meanwhile"


async def read(
    serving: Serving,
    key: str | None,
    title: str,
    body: str,
    *,
    indexes: Sequence[Index] | None = None,
    urgency: Urgency = Urgency.DOCUMENT,
    patient: bool = True,
) -> Content:
    """What the text is found by. Takes some 15 ms for each 1,000 characters: no transaction may be open.

    It is for `indexes`, or for all that are written. Who is not `patient` is refused (`TooBusy`) where many wait.
    """
    found, texts = content.passages_of(title, body)
    vectors = {
        index.id: await serving.models[index.model].embed(texts, urgency=urgency, patient=patient)
        for index in (serving.written if indexes is None else indexes)
    }
    if len(body) <= _LONG:
        counts = content.counts_of(key, title, body)
    else:
        counts = await offload.in_thread(content.counts_of, key, title, body)
    return Content(counts, found, vectors)


async def index(session: AsyncSession, serving: Serving, document: Document, found_by: Content) -> bool:
    """Make `document` searchable, unless a revision as new is there. Returns whether it was.

    Raises `Swapped` where it was read for an index that is not the live one any more.
    """
    put = await repository.put(session, document)
    if put is None:
        return False
    id, version, rewritten = put
    if rewritten:
        live = None
        for index in serving.written:
            if index.id in found_by.vectors:
                live = await repository.index(session, id, version, found_by, index, arrives=index.state == "live")
        if live not in found_by.vectors:
            raise Swapped("read it again")
    else:
        await repository.refilter(session, id)
    await outbox.stage(
        session,
        DocumentIndexed(
            kind=document.kind,
            entity_id=document.entity_id,
            revision=document.revision,
            model=serving.live.model,
        ),
    )
    return True


async def remove(session: AsyncSession, kind: str, entity_id: UUID, revision: int, at: datetime) -> None:
    """Remove the content, for good where no higher revision follows."""
    await repository.bury(session, kind, entity_id, revision, at)
