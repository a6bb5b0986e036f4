"""Links between requirements: what derives from what, what a change made doubtful, what a change reaches."""
