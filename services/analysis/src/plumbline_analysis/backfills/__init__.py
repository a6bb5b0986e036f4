"""Backfills: the stored history of signals judged by their present detectors, and kept."""
