"""Watched requirements: the projection of what the requirements service has told."""
