"""Downsampling: points summed up to minutes and hours, which are kept for longer than the points."""
