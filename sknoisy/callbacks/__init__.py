"""skorch callbacks of the methods. They also work on a stock ``NeuralNetClassifier``.

===============================  ==========================================================
:class:`MetaUpdate`              trains a meta model beside the network, batch by batch
:class:`PerSampleCrossEntropy`   the criterion to which :class:`MetaUpdate` passes the guidance
:class:`PseudoCleanRows`         chooses rows for the meta set by their losses, every epoch
:class:`TeacherAverage`          keeps a moving average of the network
:class:`RecordDynamics`          records which rows are memorised, one bit per row and epoch
:class:`RowLoader`               data loader for a stock net, whose batches carry row numbers
:class:`CLIDScore`               records CLID after each epoch
:class:`CheckpointEnsemble`      keeps the states of the best epochs
:class:`CollapseGuard`           sets a collapsing network back to its last good epoch
:class:`EpochProgress`           shows a progress bar
===============================  ==========================================================
"""

from .._engine.criterion import PerSampleCrossEntropy
from .checkpoint_ensemble import CheckpointEnsemble
from .clid_score import CLIDScore
from .collapse_guard import CollapseGuard
from .meta_update import MetaUpdate
from .progress import EpochProgress
from .pseudo_clean import PseudoCleanRows
from .record_dynamics import RecordDynamics, RowLoader
from .teacher_average import TeacherAverage

__all__ = [
    "CLIDScore",
    "CheckpointEnsemble",
    "CollapseGuard",
    "EpochProgress",
    "MetaUpdate",
    "PerSampleCrossEntropy",
    "PseudoCleanRows",
    "RecordDynamics",
    "RowLoader",
    "TeacherAverage",
]
