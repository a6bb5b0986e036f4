"""Verdicts: what the evaluation of all its objectives says about a requirement."""
