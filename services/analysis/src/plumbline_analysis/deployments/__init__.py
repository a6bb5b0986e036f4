"""Deployments: which version of which service went where and when, told by whoever deploys."""
