"""The fixtures that every package's tests share: real servers, one of each for the session."""

pytest_plugins = ["plumbline_stack.testing"]
