"""ProMix: progressive selection of rows, two networks with two heads each, MixUp and FMix.

==========================  ===================================================================
:class:`ProMixClassifier`   the estimator
:class:`ProMixNet`          one of its two nets, and the joint step
:class:`Schedule`           what is switched on in which epoch
``selection``               which rows keep their label, and which get a guessed one
``debiasing``               running class distributions and the adjustment of logits
``fmix``                    masks that combine two images
==========================  ===================================================================
"""

from .classifier import ProMixClassifier
from .net import ProMixNet
from .schedule import Schedule

__all__ = ["ProMixClassifier", "ProMixNet", "Schedule"]
