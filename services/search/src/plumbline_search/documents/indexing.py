"""Make a document searchable, or remove it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import offload, outbox
from plumbline_common.events import DocumentIndexed
from plumbline_search.documents import content, repository
from plumbline_search.documents.content import Content, Document
from plumbline_search.embedding.embedder import Embedder
from plumbline_search.embedding.model_store import MODEL
from plumbline_search.text import analysis

INDEXED = f"{MODEL}+terms@{analysis.VERSION}"
"""What is written with each document, so that it is known which must be indexed anew."""
_LONG = 20_000
"""Characters that are analysed on the event loop: some 10 ms. More go to a thread."""


async def read(embedder: Embedder, key: str | None, title: str, body: str, *, patient: bool = True) -> Content:
    """What the text is found by. Takes some 15 ms for each 1,000 characters: no transaction may be open.

    Who is not `patient` is refused (`TooBusy`) where many texts wait.
    """
    found, texts = content.passages_of(title, body)
    vectors = await embedder.embed(texts, patient=patient)
    if len(body) <= _LONG:
        counts = content.counts_of(key, title, body)
    else:
        counts = await offload.in_thread(content.counts_of, key, title, body)
    return Content(counts, found, vectors)


async def index(session: AsyncSession, document: Document, found_by: Content) -> bool:
    """Make `document` searchable, unless a revision as new is there. Returns whether it was."""
    put = await repository.put(session, document, INDEXED)
    if put is None:
        return False
    id, version, rewritten = put
    if rewritten:
        await repository.index(session, id, version, found_by, MODEL)
    else:
        await repository.refilter(session, id)
    await outbox.stage(
        session,
        DocumentIndexed(kind=document.kind, entity_id=document.entity_id, revision=document.revision, model=MODEL),
    )
    return True


async def remove(session: AsyncSession, kind: str, entity_id: UUID, revision: int, at: datetime) -> None:
    """Remove the content, for good where no higher revision follows."""
    await repository.bury(session, kind, entity_id, revision, at)
