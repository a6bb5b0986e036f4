"""Listing: pages of requirements, filtered, sorted and counted."""
