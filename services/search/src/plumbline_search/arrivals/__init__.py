"""What happens to a document once it is found: duplicates are suspected, saved searches told."""
