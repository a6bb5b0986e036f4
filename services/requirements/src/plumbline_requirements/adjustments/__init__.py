"""Adjustments of error budgets: times, once or again and again, that burn none, asked for and approved by another."""
