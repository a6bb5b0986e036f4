"""What-if: an SLO over stored history, as if it had been in force."""
