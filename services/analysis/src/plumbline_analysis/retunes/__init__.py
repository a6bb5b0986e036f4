"""Retunes: the bar that people's labels ask for, measured on a long history, and applied where that was asked."""
