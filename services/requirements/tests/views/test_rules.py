import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_requirements.listing.schemas import ListQuery
from plumbline_requirements.views import rules


def test_what_is_kept_is_what_the_list_takes_without_paging() -> None:
    assert set(ListQuery.model_fields) - {"skip", "limit", "cursor"} == rules.PARAMETERS


@given(st.dictionaries(st.sampled_from(sorted(rules.PARAMETERS)) | st.text(max_size=5), st.just("x"), max_size=5))
def test_each_unknown_name_is_pointed_to(query: dict[str, str]) -> None:
    unknown = [name for name in query if name not in rules.PARAMETERS]
    if not unknown:
        rules.check_names(query)
        return
    with pytest.raises(rules.BadQuery) as refusal:
        rules.check_names(query)
    pointed = [error["pointer"].removeprefix("/query/") for error in refusal.value.extra["errors"]]
    assert [pointer.replace("~1", "/").replace("~0", "~") for pointer in pointed] == unknown
