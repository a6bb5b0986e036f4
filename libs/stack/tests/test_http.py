from plumbline_stack import ports
from plumbline_stack.http import answers
from plumbline_stack.supervisor import Stack


async def test_only_a_server_that_serves_answers(stack: Stack) -> None:
    assert await answers(f"{stack.urls['search']}/readyz")
    assert not await answers(f"{stack.urls['gateway']}/readyz")
    assert not await answers(f"http://127.0.0.1:{ports.choose()}/readyz")
