"""What people did with hits, to judge the ranking by."""
