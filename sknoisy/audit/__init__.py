"""The label audit: which labels look wrong, how many, and why."""
