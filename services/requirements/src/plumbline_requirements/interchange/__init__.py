"""Interchange: requirements as files of other tools, in and out."""
