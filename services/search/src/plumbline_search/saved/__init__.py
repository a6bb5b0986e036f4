"""Saved searches: what a team is told of when it comes."""
