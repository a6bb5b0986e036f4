"""What documents are found by: the live index, and one that is built beside it."""
