"""What a list of requirements answers."""

import asyncio
import logging
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db
from plumbline_requirements.listing import repository, rules
from plumbline_requirements.listing.repository import Filters
from plumbline_requirements.listing.schemas import FilterQuery, ListQuery
from plumbline_requirements.requirements.repository import FACETS
from plumbline_requirements.requirements.schemas import RequirementResponse

log = logging.getLogger(__name__)

FOLD_SECONDS = 1.0
FOLD_BATCH = 20_000
_SHOWN = tuple(RequirementResponse.model_fields)
_PAGING = {"skip", "limit", "cursor", "fields", "facets"}


async def page(session: AsyncSession, query: ListQuery) -> bytes:
    """The answer as JSON (`RequirementPage`). Raises `BadParameter`."""
    fields = rules.names_of(query.fields, _SHOWN, "fields")
    facets = rules.names_of(query.facets, FACETS, "facets")
    order = rules.order_of(query.sort)
    made_for = rules.fingerprint(query.model_dump(mode="json", exclude=_PAGING, exclude_defaults=True))
    after = rules.values_of(query.cursor, made_for, order) if query.cursor else []
    filters = filters_of(query)
    found = await repository.page(session, filters, order, after, query.skip, query.limit)
    documents: bytes = found.documents
    if fields:
        items = orjson.loads(b"[%b]" % documents)
        documents = orjson.dumps([{name: item[name] for name in fields} for item in items])[1:-1]
    parts = [b'{"items":[%b],"total":%d' % (documents, found.total)]
    if found.size == query.limit:
        parts.append(b',"next":%b' % orjson.dumps(rules.cursor_of(made_for, orjson.loads(found.last))))
    if facets:
        counts = {name: await repository.facet(session, filters, name) for name in facets}
        shown = {name: [{"value": value, "count": count} for value, count in rows] for name, rows in counts.items()}
        parts.append(b',"facets":%b' % orjson.dumps(shown))
    return b"".join([*parts, b"}"])


def filters_of(query: FilterQuery) -> Filters:
    """What a query string filters by."""
    given = query.model_dump(include=set(FilterQuery.model_fields) - {"q", "label", "key"}, exclude_none=True)
    values: dict[str, Any] = {name: value for name, value in given.items() if value != []}
    for name in FACETS:
        if wanted := values.pop(name, None):
            # One value may be read in the order of an index, several may not.
            values |= {name: str(wanted[0])} if len(wanted) == 1 else {f"{name}s": [str(each) for each in wanted]}
    if query.verdict:
        values["verdict"] = [state.value for state in query.verdict]
    if query.key:
        values["key"] = [_number(key) for key in query.key]
    pairs = {tuple(label.split("=", 1)) for label in query.label if "=" in label}
    if pairs:
        values["labels"] = dict(pairs)  # type: ignore[arg-type]
    if len({name for name, _ in pairs}) < len(pairs):
        values["nothing"] = True  # one label has one value
    if names := [label for label in query.label if "=" not in label]:
        values["label_names"] = names
    return _searched(query.q, values)


def _searched(q: str, values: dict[str, Any]) -> Filters:
    if not q.strip():
        return Filters(values)
    words = rules.words_of(q)
    if q.strip().upper().startswith("REQ-") and q.strip()[4:].isascii() and q.strip()[4:].isdigit():
        number = int(q.strip()[4:])
        return Filters(values | {"words_or_number": words}, {"number": min(number, 2**63 - 1)})
    return Filters(values | ({"words": words} if words else {"nothing": True}))


def _number(key: str) -> int:
    return int(key[4:])


async def keep_folding(sessions: db.Sessions) -> None:
    """Fold what writes have counted, once a second, until cancelled."""
    while True:
        try:
            async with sessions.begin() as session:
                folded = await repository.fold(session, FOLD_BATCH)
        except Exception as error:
            log.warning("the counts could not be folded: %r", error)
            folded = 0
        if folded < FOLD_BATCH:
            await asyncio.sleep(FOLD_SECONDS)
