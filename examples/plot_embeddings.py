"""
==============================
Sentence embeddings as a table
==============================

A pretrained language model turns each sentence into a row of numbers. For everything that
follows they are a table: here, of 384 columns with 40 intents of 15 sentences each, about one in
five of which has a wrong label.
"""

# %%
# The table
# ---------
# Real embeddings come from a language model, for example by ``sentence-transformers``::
#
#     from sentence_transformers import SentenceTransformer
#     X = SentenceTransformer("all-MiniLM-L6-v2").encode(sentences)  # float32, (n_sentences, 384)
#
# Here, they are generated, so that the true intents are known and nothing has to be downloaded:
# sentences of an intent lie around its centre in a space of 60 dimensions, which a linear map
# spreads over all columns. As usual, rows are of unit length.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

from sknoisy import LabelPurifier, NoisyLabelClassifier, PurifiedClassifier
from sknoisy.noise import symmetric

N_INTENTS, N_COLUMNS, N_DIMENSIONS = 40, 384, 60
rng = np.random.default_rng(0)
spread = rng.normal(size=(N_DIMENSIONS, N_COLUMNS)) / 8
centres = rng.normal(size=(N_INTENTS, N_DIMENSIONS))


def embed(intents):
    """Return made-up embeddings of sentences of these intents."""
    positions = centres[intents] + 1.5 * rng.normal(size=(len(intents), N_DIMENSIONS))
    noise = 0.3 * rng.normal(size=(len(intents), N_COLUMNS))
    return normalize(positions @ spread + noise).astype(np.float32)


y_clean, y_test = np.repeat(np.arange(N_INTENTS), 15), np.repeat(np.arange(N_INTENTS), 25)
X, X_test = embed(y_clean), embed(y_test)
y = symmetric(y_clean, 0.2, random_state=0).y

# %%
# Three models
# ------------
# A linear classifier is the usual one on embeddings. It fits wrong labels as well as right ones.

models = {
    "labels as given": LogisticRegression(C=100),
    "purified labels": PurifiedClassifier(
        LabelPurifier(random_state=0), LogisticRegression(C=100)
    ),
    "NoisyLabelClassifier": NoisyLabelClassifier(random_state=0),
}
for name, model in models.items():
    print(f"{name:22}{model.fit(X, y).score(X_test, y_test):.3f}")
print(f"{'clean labels':22}{LogisticRegression(C=100).fit(X, y_clean).score(X_test, y_test):.3f}")

# %%
# The audit
# ---------
# Sorted by ``clean_proba_``, the wrong labels come first: how many of them are found by reading
# some of the sentences?

purifier = models["purified labels"].cleaner_
is_wrong = (y != y_clean)[np.argsort(purifier.clean_proba_)]
print(f"labels that are right: {np.mean(y == y_clean):.3f} as given, ", end="")
print(f"{np.mean(purifier.purified_labels_ == y_clean):.3f} purified")

fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
ax.plot(np.cumsum(is_wrong) / is_wrong.sum(), label="least clean_proba_ first")
ax.plot([0, len(y)], [0, 1], "0.6", label="any order")
ax.set(xlabel="sentences read", ylabel="share of the wrong labels found")
ax.legend()
plt.show()
