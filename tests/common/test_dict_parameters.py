"""Parameters that hold a dict are set as a whole; an entry of one is refused by name."""

import pytest
from estimators import over_estimators
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sknoisy import NoisyLabelClassifier
from sknoisy.pipeline import make_pipeline


def dict_parameters(estimator):
    constraints = type(estimator)._parameter_constraints
    return sorted(name for name, kinds in constraints.items() if dict in kinds)


@over_estimators("an_entry_of_a_dict_is_refused_by_name", dict_parameters)
@pytest.mark.parametrize("value", [None, {"entry": 1}])
def test_an_entry_of_a_dict_is_refused_by_name(estimator, value):
    for name in dict_parameters(estimator):
        changed = clone(estimator).set_params(**{name: value})
        with pytest.raises(ValueError, match=rf"'{name}__entry' is no .* Pass {name}=\{{'entry'"):
            changed.set_params(**{f"{name}__entry": 2})
        assert changed.get_params()[name] == value


def test_a_search_over_an_entry_of_a_dict_names_the_cure(blobs):
    grid = {"noisylabelclassifier__network_params__lr": [0.1, 0.2]}
    search = GridSearchCV(make_pipeline(NoisyLabelClassifier()), grid)
    with pytest.raises(ValueError, match=r"list such dicts: \{'network_params': \[\{'lr': \.\.\."):
        search.fit(*blobs)
