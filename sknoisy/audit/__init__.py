"""The label audit: which labels look wrong, how many, and why."""

from .auditor import LabelAuditor, audit_labels
from .result import LabelAudit

__all__ = ["LabelAudit", "LabelAuditor", "audit_labels"]
