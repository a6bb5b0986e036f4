"""Coverage: what requirements lack, and services that have none."""
