"""Deployment hooks: where whoever deploys tells of it by a signed webhook, without a token."""
