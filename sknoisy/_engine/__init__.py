"""Machinery shared by all estimators: rows, batches, the net, validation, construction.

The modules are internal: other packages of sknoisy import them, users do not.
"""
