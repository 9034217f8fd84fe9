"""Tables whose cells, labels and names try to do something."""

import numpy as np
import pandas as pd

__all__ = ["HOSTILE_CELLS", "hostile_table", "noisy_table"]

HOSTILE_CELLS = (
    "<script>document.title='owned'</script>",
    '"><img src="http://127.0.0.1:9/x.png" onerror="document.title=\'owned\'">',
    "</style><style>body{display:none}</style>",
    "</title></svg><iframe src='http://127.0.0.1:9/'></iframe>",
    "=cmd|'/c calc'!A1",
    "@SUM(1)",
    "\u202eright to left",
    "zero\u200bwidth and \x1b[31mred",
    "javascript:alert(1)",
    "x" * 10_000,
)


def noisy_table(seed, n_rows=150, rate=0.1):
    """Return a frame with numbers, a category and the column "kind", and the true labels."""
    rng = np.random.default_rng(seed)
    truth = np.array(["cat", "dog", "fish"])[rng.permutation(np.arange(n_rows) % 3)]
    centre = pd.Series(truth).map({"cat": 0.0, "dog": 4.0, "fish": 8.0}).to_numpy()
    frame = pd.DataFrame(
        {
            "length": centre + rng.normal(size=n_rows),
            "weight": centre - rng.normal(size=n_rows),
            "colour": rng.choice(["red", "green"], n_rows),
        }
    ).round(6)
    labels = truth.copy()
    wrong = rng.choice(n_rows, int(rate * n_rows), replace=False)
    labels[wrong] = pd.Series(truth[wrong]).map({"cat": "dog", "dog": "fish", "fish": "cat"})
    frame["kind"] = labels
    return frame, truth


def hostile_table(seed):
    """Return a noisy table with hostile cells, labels and names of columns."""
    frame, _ = noisy_table(seed)
    cells = np.resize(np.array(HOSTILE_CELLS, dtype=object), len(frame))
    frame.insert(0, "<img src=x onerror=alert(1)>", cells)
    names = {"cat": HOSTILE_CELLS[0], "dog": "=1+1", "fish": "\u202e</style>fish"}
    frame["kind"] = frame["kind"].map(names)
    return frame
