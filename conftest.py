"""The fixtures that every package's tests share: real servers, one of each for the session."""

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["plumbline_stack.testing"]
if os.environ.get("PLUMBLINE_SERVERS") == "containers":
    pytest_plugins.append("container_servers")  # the last one's fixtures count

# How long a busy machine takes to make examples says nothing of the code.
settings.register_profile("plumbline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("plumbline")
