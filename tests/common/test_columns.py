"""What X may hold, for every estimator: gaps, text, dates, tensors, and rows of any shape."""

import pickle
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
import torch
from estimators import (
    assert_same,
    fit,
    has,
    is_mixture,
    outputs,
    over_estimators,
    quick_estimators,
    reference,
)
from own_networks import ROWS_FOR, given_to
from sklearn.base import clone, is_classifier
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline as sklearn_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import get_tags
from skrub import TableVectorizer

from sknoisy import LabelPurifier, NoisyLabelClassifier, PurifiedClassifier
from sknoisy._engine.validation import check_X
from sknoisy.audit import LabelAuditor
from sknoisy.base import NetworkEstimator
from sknoisy.exceptions import ConstantColumnWarning
from sknoisy.pipeline import make_pipeline
from sknoisy.representation import SCARF, MoCo, SimCLR

pytestmark = pytest.mark.usefixtures("small_forests")

COLUMNS = ["age", "bmi", "city", "dose", "ecg", "foot"]


def takes_tables(estimator):
    return not is_mixture(estimator)


def takes_nan(estimator):
    return get_tags(estimator).input_tags.allow_nan


@pytest.fixture
def gaps(blobs, global_random_seed):
    """The blobs with a tenth of the values of three columns missing."""
    X, y = blobs
    X[:, :3][np.random.default_rng(global_random_seed + 1).random((len(X), 3)) < 0.1] = np.nan
    return X, y


# --- missing values -----------------------------------------------------------------------------


@over_estimators("tags_tell_whether_nan_is_taken")
def test_tags_tell_whether_nan_is_taken(estimator):
    """Logistic regression, which PurifiedClassifier has here, takes none."""
    of_others = is_mixture(estimator) or isinstance(estimator, PurifiedClassifier)
    assert takes_nan(estimator) == (not of_others)


def test_a_purified_classifier_takes_nan_if_both_of_its_parts_do(gaps):
    X, y = gaps
    cleaner = quick_estimators()["LabelPurifier"]
    boosted = PurifiedClassifier(cleaner, HistGradientBoostingClassifier(max_iter=5))
    assert takes_nan(boosted)
    boosted.fit(X, y)
    alone = HistGradientBoostingClassifier(max_iter=5).fit(X, boosted.cleaner_.purified_labels_)
    np.testing.assert_array_equal(boosted.predict_proba(X), alone.predict_proba(X))
    with pytest.raises(ValueError, match="LogisticRegression does not accept missing values"):
        PurifiedClassifier(cleaner, LogisticRegression()).fit(X, y)


GAPS = {
    "NaN": lambda X: X,
    "None": lambda X: np.where(np.isnan(X), None, X),
    "masked": lambda X: np.ma.masked_array(np.nan_to_num(X, nan=99.0), np.isnan(X)),
    "NA": lambda X: pd.DataFrame(X, columns=COLUMNS).astype("Float64").mask(np.isnan(X), pd.NA),
    "null": lambda X: pl.DataFrame(X, schema=COLUMNS).fill_nan(None),
    "tensor": torch.from_numpy,
}


@pytest.mark.parametrize("container", GAPS)
def test_missing_values_of_any_container_are_nan(gaps, container):
    X, _ = gaps
    found = check_X(LabelPurifier(), GAPS[container](X), reset=True)
    np.testing.assert_array_equal(found, X)


@over_estimators("missing_values_are_taken_in_fit_and_predict", takes_nan)
def test_missing_values_are_taken_in_fit_and_predict(estimator, gaps):
    X, y = gaps
    frame = GAPS["NA"](X)
    fitted = fit(estimator, frame, y)
    assert fitted.n_features_in_ == 6
    assert all(np.isfinite(value).all() for value in outputs(fitted, frame).values())


def has_network(estimator):
    return hasattr(estimator, "module") or hasattr(estimator, "encoder")


@over_estimators(
    "gaps_of_predict_alone_are_filled_by_the_training_median",
    lambda e: has_network(e) and (is_classifier(e) or hasattr(e, "transform")),
)
def test_gaps_of_predict_alone_are_filled_by_the_training_median(estimator, blobs):
    X, y = blobs
    fitted = reference(estimator, X, y)
    missing, filled = X.copy(), X.copy()
    missing[::2, 1], filled[::2, 1] = np.nan, np.median(X[:, 1])
    for name in {"predict_proba", "features", "transform"} & {*dir(fitted)}:
        method = getattr(fitted, name)
        np.testing.assert_array_equal(method(missing), method(filled))


@over_estimators("missing_values_of_sparse_and_dense_tables_are_the_same", takes_nan)
def test_missing_values_of_sparse_and_dense_tables_are_the_same(estimator, gaps):
    X, y = gaps
    X = np.where(X > 0.5, X, np.where(np.isnan(X), X, 0))
    dense, sparse = fit(estimator, X, y), fit(estimator, sp.csr_array(X), y)
    if isinstance(estimator, NoisyLabelClassifier):  # trees take no NaN in sparse matrices
        assert np.isfinite(sparse.predict_proba(sp.csr_array(X))).all()
    else:
        assert_same(dense, X, sparse, sp.csr_array(X), atol=1e-4)


@over_estimators("a_column_of_missing_values_changes_nothing_and_is_named", takes_nan)
def test_a_column_of_missing_values_is_named(estimator, blobs):
    X, y = blobs
    frame = pd.DataFrame(X, columns=COLUMNS)
    frame["city"] = np.nan
    with pytest.warns(ConstantColumnWarning, match="no value in column 'city'|column 2"):
        fitted = fit(estimator, frame, y)
    other = frame.assign(city=1e6)  # values that were never seen have no effect
    for name in {"features", "transform"} & {*dir(fitted)}:
        method = getattr(fitted, name)
        np.testing.assert_array_equal(method(frame), method(other))


def test_forests_get_nan_and_other_estimators_imputed_columns(gaps):
    X, y = gaps
    seen = {}

    class Looks(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            seen["X"] = X
            return super().fit(X, y, sample_weight)

    quick = quick_estimators()["NoisyLabelClassifier-ensemble"]
    imputed = clone(quick).set_params(estimator=Looks()).fit(X, y)
    expected = SimpleImputer(strategy="median", add_indicator=True).fit_transform(X)
    np.testing.assert_array_equal(seen["X"], expected)
    assert np.isfinite(imputed.predict_proba(X)).all()
    boosted = clone(quick).set_params(estimator=HistGradientBoostingClassifier(max_iter=3))
    boosted.fit(X, y)
    alone = HistGradientBoostingClassifier(max_iter=3, random_state=0)
    assert np.isfinite(boosted.predict_proba(X)).all()
    assert boosted.estimator_.n_features_in_ == alone.fit(X, y).n_features_in_ == 6


@pytest.mark.parametrize(
    "representation",
    [
        PCA(2),
        sklearn_pipeline(StandardScaler(), PCA(2)),
        sklearn_pipeline(SimpleImputer(), PCA(2)),
    ],
    ids=["PCA", "scaled PCA", "imputed PCA"],
)
def test_a_representation_that_takes_no_nan_gets_imputed_columns(gaps, representation):
    X, y = gaps
    purifier = quick_estimators()["LabelPurifier"]
    purifier = clone(purifier).set_params(representation=representation)
    X_same, _ = purifier.fit_resample(X, y)
    assert X_same is X
    own_imputer = "simpleimputer" in getattr(representation, "named_steps", {})
    assert purifier.representation_.n_features_in_ == (6 if own_imputer else 9)


def test_kept_rows_keep_their_gaps(gaps):
    X, y = gaps
    frame = pd.DataFrame(X, columns=COLUMNS)
    selector = quick_estimators()["CleanSampleSelector"]
    kept, _ = clone(selector).set_params(n_folds=0).fit_resample(frame, y)
    pd.testing.assert_frame_equal(kept, frame.loc[kept.index])


# --- columns that hold no numbers ---------------------------------------------------------------


DAYS = pd.date_range("2026-01-01", periods=121)
NO_NUMBERS = {
    "text": lambda: pd.Series(["Oslo", "Bergen", None] * 40 + ["Oslo"]),
    "text of numbers": lambda: pd.Series(["1.5"] * 121, dtype=object),
    "category": lambda: pd.Series(list("abc") * 40 + ["a"], dtype="category"),
    "dates": lambda: pd.Series(DAYS),
    "durations": lambda: pd.Series(DAYS - DAYS[0]),
    "objects of dates": lambda: pd.Series(DAYS.to_pydatetime(), dtype=object),
}
FRAMES = {
    "pandas": lambda frame: frame,
    "polars": pl.from_pandas,
    "arrow": pa.Table.from_pandas,
}


@over_estimators("columns_without_numbers_are_refused_by_name", takes_tables)
def test_columns_without_numbers_are_refused_by_name(estimator, blobs):
    X, y = blobs
    name = "LabelPurifier" if isinstance(estimator, PurifiedClassifier) else None
    name = name or type(estimator).__name__
    cure = rf"'city'.*numbers only.*make_pipeline\(TableVectorizer\(\), {name}\(\)\)"
    for column in NO_NUMBERS.values():
        frame = pd.DataFrame(X, columns=COLUMNS).assign(city=column())
        for convert in FRAMES.values():
            with pytest.raises(ValueError, match=cure):
                fit(estimator, convert(frame), y)
        with pytest.raises(ValueError, match=cure.replace("'city'", "2")):
            fit(estimator, frame.to_numpy(dtype=object), y)


def test_categories_are_refused_even_if_their_names_are_numbers(quick, blobs):
    X, y = blobs
    frame = pd.DataFrame(X, columns=COLUMNS).assign(city=pd.Categorical(y))
    with pytest.raises(ValueError, match=r"categories in column 'city', such as \d"):
        quick().fit(frame, y)


@over_estimators("arrays_without_numbers_are_refused", takes_tables)
def test_arrays_without_numbers_are_refused(estimator, blobs):
    X, y = blobs
    arrays = {
        "dates in columns 0, 1": np.zeros(X.shape, dtype="M8[D]"),
        "dates in columns 0, 2": np.zeros(X.shape, dtype="m8[s]"),
        "text in columns 0, 3": X.astype(str),
        "text in columns 0, 4": X.astype("S"),
    }
    for message, array in arrays.items():
        with pytest.raises(ValueError, match=rf"{message.partition(',')[0]}.*, \.\.\., such as"):
            fit(estimator, array, y)


@pytest.mark.parametrize("make", [sklearn_pipeline, make_pipeline], ids=["sklearn", "sknoisy"])
def test_a_vectorizer_before_a_classifier_takes_any_frame(make, global_random_seed):
    """Text, dates, categories and gaps, each of which tells the classes apart a little."""
    rng = np.random.default_rng(global_random_seed)
    y = np.arange(120) % 2
    frame = pd.DataFrame(
        {
            "city": np.where(rng.random(120) < 0.8, y, 1 - y),
            "plan": pd.Categorical(np.array(["basic", "full"])[y]),
            "received": DAYS[:120] + pd.to_timedelta(365 * y, "D"),
            "amount": np.where(rng.random(120) < 0.3, np.nan, rng.normal(size=120) + y),
        }
    )
    frame["city"] = frame["city"].map({0: "Oslo", 1: "Bergen"}).mask(rng.random(120) < 0.1)
    classifier = clone(quick_estimators()["NoisyLabelClassifier-ensemble"])
    model = make(TableVectorizer(), classifier).fit(frame[:80], y[:80])
    assert model.score(frame[80:], y[80:]) > 0.9
    with pytest.raises(
        ValueError, match=r"text in column 'city'.*categories.*'plan'.*dates.*'rec"
    ):
        clone(classifier).fit(frame, y)


# --- containers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [
        lambda X: X.bfloat16(),
        lambda X: X.float().requires_grad_(),
        lambda X: [*X.bfloat16().requires_grad_()],
    ],
    ids=["bfloat16", "graph", "list"],
)
def test_tensors_are_the_arrays_of_their_numbers(blobs, convert):
    X = torch.from_numpy(blobs[0]).bfloat16()
    found = check_X(LabelPurifier(), convert(X.clone()), reset=True)
    np.testing.assert_array_equal(found, X.float().numpy())


@over_estimators("tensors_with_a_graph_are_taken", takes_tables)
def test_tensors_with_a_graph_are_taken(estimator, blobs):
    X, y = blobs
    tensor = torch.tensor(X, requires_grad=True)
    assert_same(reference(estimator, X, y), X, fit(estimator, tensor, y), tensor, atol=1e-9)


class Letters(torch.utils.data.Dataset):
    def __len__(self):
        return 121

    def __getitem__(self, index):
        return torch.zeros(6), 0


NOT_TAKEN = {
    "Letters.*numpy.stack": lambda X: Letters(),
    "DataLoader.*numpy.stack": lambda X: torch.utils.data.DataLoader(Letters()),
    "dict.*pandas.DataFrame": lambda X: dict(zip(COLUMNS, X.T, strict=True)),
    "generator.*Pass an array": lambda X: (row for row in X),
    "LazyFrame.*collect": lambda X: pl.DataFrame(X).lazy(),
    "NoneType.*Pass an array": lambda X: None,
    "tensor of the layout torch.sparse_coo.*to_dense": lambda X: torch.from_numpy(X).to_sparse(),
    "tensor on the meta device": lambda X: torch.empty(X.shape, device="meta"),
}


@over_estimators("containers_without_rows_are_refused_in_one_line", takes_tables)
def test_containers_without_rows_are_refused_in_one_line(estimator, blobs):
    X, y = blobs
    not_taken = dict(NOT_TAKEN)
    # Those that read a data set row by row, and the one that asks its parts whether they do.
    readers = (NetworkEstimator, LabelAuditor, LabelPurifier, PurifiedClassifier)
    if isinstance(estimator, readers):
        del not_taken["Letters.*numpy.stack"]
    for message, convert in not_taken.items():
        with pytest.raises(TypeError, match=rf"^X is a {message}.*\Z"):
            fit(estimator, convert(X), y)


@over_estimators("rows_of_different_shapes_are_refused", takes_tables)
def test_rows_of_different_shapes_are_refused(estimator, blobs):
    _, y = blobs
    for rows, sizes in {
        ((6,), (5,)): r"\(6,\) of row 0 and \(5,\) of row 1",
        ((8, 8, 3), (8, 9, 3)): r"\(8, 8, 3\) of row 0 and \(8, 9, 3\) of row 1",
    }.items():
        X = [np.zeros(rows[i % 2]) for i in range(121)]
        with pytest.raises(ValueError, match=f"different shapes, such as {sizes}"):
            fit(estimator, X, y)


@over_estimators("numbers_beyond_64_bits", takes_tables)
def test_integers_beyond_float64_are_refused_by_name(estimator, blobs):
    X, y = blobs
    X = X.astype(object)
    X[5, 3] = 10**400
    with pytest.raises(ValueError, match=r"too large for dtype.*1329 bits in column 3"):
        fit(estimator, X, y)


def test_sparse_float16_is_taken(quick, blobs):
    X, y = blobs
    matrix = sp.csr_array(X.round().astype(np.float32))
    half = matrix.copy()
    half.data = half.data.astype(np.float16)
    expected = fit(quick(), matrix, y)
    assert_same(expected, matrix, fit(quick(), half, y), half)


@over_estimators("images_without_pixels_are_refused", takes_tables)
def test_images_without_pixels_are_refused(estimator, images):
    X, y = images
    for empty in (X[:, :0], X[:, :, :0]):
        with pytest.raises(ValueError, match=r"X has the shape .* hold no value"):
            fit(estimator, empty, y)


# --- units --------------------------------------------------------------------------------------


@over_estimators("tables_of_any_unit_are_learned", lambda e: hasattr(e, "device"))
def test_tables_of_any_unit_are_learned(estimator, blobs):
    """Up to rounding; trees, in float32, get such columns divided by their largest magnitude."""
    X, y = blobs
    expected = reference(estimator, X, y)
    tiny = X * 1e-300
    fitted = fit(estimator, tiny, y)
    if isinstance(estimator, NoisyLabelClassifier):
        assert fitted.score(tiny, y) > 0.9
    else:
        assert_same(expected, X, fitted, tiny, atol=0.05)


# --- devices ------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="torch sees an Apple GPU")
@over_estimators("devices_that_cannot_be_used_are_refused_in_one_line", has("device"))
def test_devices_that_cannot_be_used_are_refused_in_one_line(estimator, blobs):
    for device in ("mps", torch.device("mps"), "meta"):
        message = rf"^device={re.escape(repr(device))} cannot be used: .* Pass device=\"auto\".*\Z"
        with pytest.raises(ValueError, match=message):
            clone(estimator).set_params(device=device).fit(*blobs)


# --- rows for a network of the user's own -------------------------------------------------------


@pytest.mark.parametrize("kind", ["series", "tokens", "bands"])
@over_estimators("networks_of_ones_own_get_rows_as_they_are", has("module"))
def test_networks_of_ones_own_get_rows_as_they_are(estimator, kind, global_random_seed):
    """Each network checks the dtype and the shape of what it gets."""
    network, X, y = ROWS_FOR[kind](np.random.default_rng(global_random_seed))
    fitted = given_to(estimator, network).fit(X, y)
    assert fitted.image_shape_ == (X.shape[1:] if X.ndim > 2 else None)
    if not is_classifier(fitted):
        kept, labels = fitted.fit_resample(X, y)
        assert kept.dtype == X.dtype
        assert kept.shape == (len(labels), *X.shape[1:])
        return
    assert fitted.features(X).shape == (len(X), 8)
    proba = fitted.predict_proba(X)
    if not hasattr(fitted, "purifier"):  # which holds a lambda here
        proba_of_copy = pickle.loads(pickle.dumps(fitted)).predict_proba(X)
        np.testing.assert_array_equal(proba_of_copy, proba)
    with pytest.raises(ValueError, match=r"fitted on|expecting \d+ features"):
        fitted.predict(X[:, :-1])


@pytest.mark.parametrize("kind", ["channels last", "bands of uint8"])
def test_channels_last_and_pixels_of_more_bands(kind, global_random_seed):
    """Pixels of uint8 become fractions, as those of images that are not standardised."""
    network, X, y = ROWS_FOR[kind](np.random.default_rng(global_random_seed))
    clf = given_to(quick_estimators()["MetaWeightNetClassifier"], network).fit(X, y)
    assert clf.predict_proba(X).shape == (60, 3)
    if X.dtype == np.uint8:
        rows = clf._rows(X).take(torch.arange(60))
        np.testing.assert_allclose(rows.numpy(), X / 255, rtol=1e-6)


@over_estimators("other_networks_ask_for_tables_or_images", takes_tables)
def test_other_networks_ask_for_tables_or_images(estimator, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    for shape in ((20, 5, 7), (20, 6, 5, 5)):
        with pytest.raises(ValueError, match=r"reshape\(len\(X\), -1\), or pass a module"):
            fit(estimator, rng.normal(size=shape), np.arange(20) % 2)


def test_the_ensemble_asks_for_a_table_and_other_methods_take_any_rows(global_random_seed):
    network, X, y = ROWS_FOR["series"](np.random.default_rng(global_random_seed))
    params = {"module": network, "max_epochs": 2, "batch_size": 32}
    clf = NoisyLabelClassifier(network_params=params, random_state=0)
    assert clf.fit(X, y).predict_proba(X).shape == (len(X), 3)
    with pytest.raises(
        ValueError, match=r'method="ensemble" needs a table.*rows of shape \(5, 7\)'
    ):
        clone(clf).set_params(method="ensemble").fit(X, y)


def test_integers_that_a_network_gets_as_codes_stay_integers(global_random_seed):
    network, X, y = ROWS_FOR["tokens"](np.random.default_rng(global_random_seed))
    mild = given_to(quick_estimators()["MILDClassifier-mixmatch"], network)
    with pytest.raises(ValueError, match="semi='mixmatch' mixes rows, but X holds integers"):
        mild.set_params(semi="mixmatch").fit(X, y)
    clf = given_to(quick_estimators()["L2RClassifier"], network).fit(X, y)
    with pytest.raises(ValueError, match="X holds float64, but integers were fitted"):
        clf.predict(X.astype(float))
    with pytest.raises(
        ValueError, match=r"does not take X: it got torch.float32 of shape \(2, 5\)"
    ):
        clone(clf).fit(X.astype(float), y)


def test_a_purifier_with_a_representation_of_ones_own_takes_any_rows(global_random_seed):
    _, X, y = ROWS_FOR["series"](np.random.default_rng(global_random_seed))
    purifier = LabelPurifier(
        representation=FunctionTransformer(lambda X: X.reshape(len(X), -1)), n_epochs=5
    )
    X_same, labels = purifier.fit_resample(X, y)
    assert X_same is X
    assert len(labels) == len(X)


# --- self-supervised representations ------------------------------------------------------------


@pytest.mark.parametrize("method", [SimCLR, MoCo, SCARF])
def test_one_column_cannot_be_corrupted(method, blobs):
    X, _ = blobs
    with pytest.raises(ValueError, match=rf"1 feature\(s\), but {method.__name__} learns how"):
        method(max_epochs=1).fit(X[:, :1])


@pytest.mark.parametrize("method", [SimCLR, MoCo])
def test_series_need_a_view_of_ones_own(method, global_random_seed):
    _, X, _ = ROWS_FOR["series"](np.random.default_rng(global_random_seed))
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(35, 4))
    with pytest.raises(ValueError, match=r"augment='auto'.*shape \(60, 5, 7\).*Pass a function"):
        method(encoder=encoder, max_epochs=1).fit(X)

    def shift(rows, generator):
        return rows + torch.randn(rows.shape, generator=generator)

    fitted = method(encoder=encoder, augment=shift, max_epochs=1).fit(X)
    assert fitted.transform(X).shape == (60, 4)
