"""Out-of-fold learners: classifiers that judge each training row without having seen it.

All learners have one interface, :class:`~sknoisy.learners.learner.Learner`. ``fit`` learns soft
labels, ``predict_proba`` returns the probabilities of new rows, and ``fit_held_out`` returns those
of the training rows, by models that have not seen the row or, with groups, its group.

:mod:`~sknoisy.learners.posterior` combines their probabilities with the given labels;
:mod:`~sknoisy.learners.ensemble` purifies labels with them, and predicts.
"""
