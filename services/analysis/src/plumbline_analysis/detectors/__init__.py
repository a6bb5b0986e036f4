"""Detectors of indicators: their bar, what labels propose it to be, and what another would change."""
