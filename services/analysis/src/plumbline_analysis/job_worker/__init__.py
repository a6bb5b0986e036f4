"""The worker process of jobs."""
