"""The passages of an index in memory: for comparing all of them, or many, with one query."""
