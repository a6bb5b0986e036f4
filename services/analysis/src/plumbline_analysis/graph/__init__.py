"""The service graph: which service calls which, learned from the attributes of spans and of metrics."""
