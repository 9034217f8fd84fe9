"""What every estimator stands on: rows, batches, the net, validation, construction.

Internal: other packages import its modules, users import nothing from here.
"""
