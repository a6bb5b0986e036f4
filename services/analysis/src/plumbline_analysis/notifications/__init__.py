"""Notifications: incidents, objectives and verdicts told to webhooks, grouped and repeated as Alertmanager does."""
