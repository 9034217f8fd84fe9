"""
======================================
From strings to a classifier of topics
======================================

Messages of a help desk, of which about three in ten are filed under a wrong topic.
``TfidfVectorizer`` makes a sparse matrix of the strings, and :class:`~sknoisy.LabelPurifier` or
:class:`~sknoisy.NoisyLabelClassifier` takes it as it is.
"""

# %%
# Messages
# --------
# The messages are generated here, so that their true topics are known: a few words that belong to
# a topic among many that are used everywhere. Yours come from a file, as a list of strings. The
# true topics are used to judge, never to train.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from sknoisy import LabelPurifier, NoisyLabelClassifier
from sknoisy.noise import symmetric
from sknoisy.pipeline import make_pipeline

OF_TOPIC = {
    "billing": "invoice charged twice card tax receipt payment bank discount price refund due fee "
    "amount currency overdue deposit coupon iban transfer vat renewal plan upgrade cheque balance",
    "delivery": "parcel courier address late arrived box tracking street door lost ship customs "
    "neighbour van pickup depot damaged label wrapping doorstep postcode fragile locker crate",
    "login": "password reset code email locked account sign username phone link expired token "
    "captcha browser cookie session verify profile blocked sms backup device hacked logout portal",
    "printer": "paper jam ink cartridge toner driver tray page scan cable colour blank wireless "
    "duplex margin stripes nozzle copy scanner lid feeder smudge roller sheet firmware resolution",
}
EVERYWHERE = (
    "hello please thanks again since yesterday monday week still help need cannot try tried after "
    "before today soon team problem question order number customer office new old first second "
    "morning found asked told called wait waiting same another answer message reply kind regards"
)


def write_messages(n, rng):
    """Return n messages of 8 to 20 words, of which two belong to the topic, and the topics."""
    topics, common = rng.choice(list(OF_TOPIC), n), EVERYWHERE.split()
    messages = []
    for topic in topics:
        words = [*rng.choice(common, rng.integers(5, 18))]
        words += [f"{rng.choice(common)}{rng.integers(60)}"]  # names, models, typing errors
        words += [*rng.choice(OF_TOPIC[topic].split(), 2)]
        messages.append(" ".join(rng.permutation(words)))
    return messages, topics


rng = np.random.default_rng(0)
messages, y_clean = write_messages(500, rng)
new_messages, y_new = write_messages(700, rng)
y = symmetric(y_clean, 0.3, random_state=0).y
print(f"{y[0]}: {messages[0]}")

# %%
# The model
# ---------
# The purifier corrects the labels, then logistic regression learns them. Both get the sparse
# matrix, which is never made dense. :mod:`sknoisy.pipeline` takes steps that change labels.

vectorizer = TfidfVectorizer(sublinear_tf=True)
linear = LogisticRegression()
models = {
    "labels as given": make_pipeline(vectorizer, linear),
    "purified labels": make_pipeline(vectorizer, LabelPurifier(random_state=0), linear),
    "NoisyLabelClassifier": make_pipeline(vectorizer, NoisyLabelClassifier(random_state=0)),
}
accuracies = {
    name: model.fit(messages, y).score(new_messages, y_new) for name, model in models.items()
}
accuracies["clean labels"] = (
    make_pipeline(vectorizer, linear).fit(messages, y_clean).score(new_messages, y_new)
)
for name, accuracy in accuracies.items():
    print(f"{name:22}{accuracy:.3f}")

# %%
# Which messages to read again
# ----------------------------
# ``clean_proba_`` is the probability that the given label is right. The least probable ones are
# worth a second look. The purifier is sure of nearly every label here, the classifier of fewer.

purifier = models["purified labels"].named_steps["labelpurifier"]
for i in np.argsort(purifier.clean_proba_)[:5]:
    proposed = purifier.purified_labels_[i]
    print(
        f"{y[i]} -> {proposed} ({'right' if proposed == y_clean[i] else 'wrong'}): {messages[i]}"
    )

classifier = models["NoisyLabelClassifier"].named_steps["noisylabelclassifier"]
fig, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
bins = np.linspace(0, 1, 21)
for ax, model in zip(axes, (purifier, classifier), strict=True):
    for is_right, label in ((True, "right labels"), (False, "wrong labels")):
        ax.hist(model.clean_proba_[(y == y_clean) == is_right], bins, alpha=0.6, label=label)
    ax.set(xlabel="clean_proba_", title=type(model).__name__)
axes[0].set_ylabel("messages")
axes[0].legend()
plt.show()

# %%
# The purifier and networks do not work on the sparse columns themselves, but on at most 200
# components of them, which are computed in ``fit``: :ref:`text`. NoisyLabelClassifier fits ridge
# regressions to the sparse columns: :ref:`auto`.
