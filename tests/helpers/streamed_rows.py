"""The rows of an array in containers that are read in batches."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

CONTAINERS = ["map", "path", "ParquetFile", "Dataset"]


class Items(Dataset):
    """A map-style data set without labels."""

    def __init__(self, X):
        self.X = X

    def __len__(self):
        return len(self.X)

    def __getitem__(self, number):
        return torch.from_numpy(np.array(self.X[number]))


def stored(X, container, folder, group_rows=50):
    """Return the rows of X in a container, whose file is in a folder."""
    if container == "Dataset":
        return Items(X)
    if container == "map":
        np.save(folder / "X.npy", X)
        return np.load(folder / "X.npy", mmap_mode="r")
    path = folder / "X.parquet"
    columns = {f"c{j}": column for j, column in enumerate(X.T)}
    parquet.write_table(pa.table(columns), path, row_group_size=group_rows)
    return path if container == "path" else parquet.ParquetFile(path)
