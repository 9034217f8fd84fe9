"""Grid search and out-of-fold fits on joblib's Dask backend."""

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_predict

distributed = pytest.importorskip("distributed", reason="needs Dask: pip install distributed")


@pytest.fixture
def cluster():
    """Two workers of one thread each, in processes of their own, on this machine."""
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            scheduler_port=0,
        ) as cluster,
        distributed.Client(cluster),
    ):
        yield


def test_dask_finds_what_a_serial_search_finds(quick, blobs, cluster):
    X, y = blobs
    search = GridSearchCV(quick(), {"lr": [0.01, 0.1]}, cv=2)
    with joblib.parallel_backend("dask"):
        on_cluster = search.fit(X, y).cv_results_["split1_test_score"]
        proba = cross_val_predict(quick(), X, y, cv=2, method="predict_proba", n_jobs=2)
    here = search.fit(X, y).cv_results_["split1_test_score"]
    np.testing.assert_array_equal(on_cluster, here)
    np.testing.assert_array_equal(
        proba, cross_val_predict(quick(), X, y, cv=2, method="predict_proba")
    )
