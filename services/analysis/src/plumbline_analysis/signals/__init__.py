"""Signals: the time series that are known, and their points read back."""
