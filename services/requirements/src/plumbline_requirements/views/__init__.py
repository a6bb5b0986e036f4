"""Views: queries that teams keep under names."""
