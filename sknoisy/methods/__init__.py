"""The methods: one module per paper, or one package if a single file would be too long.

:data:`~sknoisy.methods.registry.METHODS` lists the methods. Import their estimators from
``sknoisy``. The packages ``sknoisy.methods.mild`` and ``sknoisy.methods.mlnt`` also export parts
of their methods.
"""
