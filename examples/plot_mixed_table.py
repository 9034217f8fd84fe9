"""
=====================================================
A table of text, dates, categories and missing values
=====================================================

``TableVectorizer`` of skrub encodes the columns of a frame, and
:class:`~sknoisy.NoisyLabelClassifier` takes the missing values that are left: its forests split on
them, and its networks impute them and mark where they were.
"""

# %%
# A frame with gaps
# -----------------
# Claims of an insurance company. Whether one is refused depends on the city, the plan, the month
# and the amount; a clerk has entered a quarter of the labels wrongly. The city is missing in a
# tenth of the rows, and the amount is missing more often if a claim is refused. The clean labels
# are used to judge, never to train.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from skrub import TableVectorizer

from sknoisy import NoisyLabelClassifier
from sknoisy.noise import symmetric
from sknoisy.pipeline import make_pipeline

rng = np.random.default_rng(0)
n = 700
claims = pd.DataFrame(
    {
        "city": rng.choice(["Bergen", "Oslo", "Tromsø", "Trondheim"], n),
        "plan": pd.Categorical(rng.choice(["basic", "plus", "full"], n)),
        "received": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 365, n), "D"),
        "amount": rng.lognormal(6, 1, n).round(2),
    }
)
score = np.log(claims["amount"]) - 6 + 1.5 * (claims["plan"] == "basic")
score += 1.0 * claims["city"].isin(["Oslo", "Bergen"]) - 1.0 * (claims["received"].dt.month > 6)
y_clean = np.where(score > 0.5, "refused", "paid")
y = symmetric(y_clean, 0.25, random_state=0).y

claims.loc[rng.random(n) < 0.1, "city"] = None
claims.loc[rng.random(n) < np.where(y_clean == "refused", 0.3, 0.1), "amount"] = np.nan
claims.head()

# %%
# Two lines
# ---------
# Without the vectorizer, ``fit`` refuses the frame and names the columns:

try:
    NoisyLabelClassifier().fit(claims, y)
except ValueError as error:
    print(error)

# %%
# With it, the pipeline takes the frame as it is, in ``fit`` and in ``predict``. Its networks train
# for ten epochs only, to be short.

train, test = np.arange(n) < 500, np.arange(n) >= 500
classifier = NoisyLabelClassifier(network_params={"max_epochs": 10}, random_state=0)
model = make_pipeline(TableVectorizer(), classifier)
model.fit(claims[train], y[train])
print(f"accuracy on clean test labels: {model.score(claims[test], y_clean[test]):.3f}")
print(f"estimated share of wrong labels: {classifier.choice_.noise_rate:.2f}")

# %%
# The rows that look wrong
# ------------------------
# ``clean_proba_`` is the probability that the given label of a row is right.

right = y[train] == y_clean[train]
fig, ax = plt.subplots(layout="constrained")
ax.hist(
    [classifier.clean_proba_[right], classifier.clean_proba_[~right]],
    bins=20,
    stacked=True,
    label=["right label", "wrong label"],
)
ax.set(xlabel="probability that the given label is right", ylabel="claims")
ax.legend()
plt.show()
