import pytest

from plumbline_common.errors import PreconditionMissing, Stale
from plumbline_common.preconditions import check_match


@pytest.mark.parametrize("header", ['"3"', '"1", "3"', "*"])
def test_the_present_revision_matches(header: str) -> None:
    check_match(3, header)


@pytest.mark.parametrize("header", ['"2"', "3", 'W/"3"', ""])
def test_any_other_is_stale_and_the_present_one_is_told(header: str) -> None:
    with pytest.raises(Stale) as refusal:
        check_match(3, header)
    assert refusal.value.extra["etag"] == '"3"'


def test_a_change_without_a_precondition_is_refused() -> None:
    with pytest.raises(PreconditionMissing):
        check_match(3, None)
