"""Baselines: named sets of revisions that are never changed, and what lies between two."""
