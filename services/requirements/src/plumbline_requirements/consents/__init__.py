"""Consents: what one asks for and another approves, such as exemptions and adjustments of budgets."""
