"""Bulk: many changes in one request, with a result for each."""
