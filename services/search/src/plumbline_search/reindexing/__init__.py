"""Building an index anew beside the live one, and keeping the live one complete."""
