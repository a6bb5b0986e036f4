"""Backtests: what detectors would have raised on a signal's history, side by side."""
