"""Requirements: the head of each, its lifecycle, and lists of them."""
