"""The system of record for reliability requirements and their SLOs."""
