"""Steps that drop the rows whose labels are taken for wrong."""

from .clean_sample_selector import CleanSampleSelector

__all__ = ["CleanSampleSelector"]
