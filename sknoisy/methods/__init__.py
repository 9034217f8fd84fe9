"""The methods: a module for each paper or, where it adds more than a file holds, a package.

:data:`~sknoisy.methods.registry.METHODS` lists them. Users import estimators from ``sknoisy``; the
packages ``sknoisy.methods.mild`` and ``sknoisy.methods.mlnt`` offer parts of their methods, too.
"""
