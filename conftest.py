"""The fixtures that every package's tests share: real servers, one of each for the session."""

import gc
import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["plumbline_stack.testing"]
if os.environ.get("PLUMBLINE_SERVERS") == "containers":
    pytest_plugins.append("container_servers")  # the last one's fixtures count

# How long a busy machine takes to make examples says nothing of the code. The same code is given the same examples,
# so that a failure tells of the change it stands at; `make explore` draws others.
settings.register_profile("plumbline", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("explore", settings.get_profile("plumbline"), derandomize=False, max_examples=1000)
settings.load_profile(os.environ.get("PLUMBLINE_HYPOTHESIS", "plumbline"))


def pytest_collection_finish() -> None:
    """What was imported stays until the end: no collection need look at it again."""
    gc.collect()
    gc.freeze()
