"""Rules with many inputs, held by Hypothesis: quoting, names in both workspaces, batches split around refused items."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from adbazureml.azureml_mlflow.experiment_names import azureml_experiment_name
from adbazureml.azureml_mlflow.log_batch import Limits, send_around_rejected, within_limits
from adbazureml.registry.model_names import azureml_model_name, databricks_model_name
from adbazureml.text import identifier, literal, name_parts, table_name

PART = st.text(
    st.characters(exclude_characters="/ \x7f", exclude_categories=("Cc", "Cs", "Zs")), min_size=1, max_size=40
)
KEYS = st.text("abcdefgh", min_size=1, max_size=3)


@given(st.text(min_size=1))
def test_an_identifier_ends_where_its_name_ends(name):
    quoted = identifier(name)
    assert re.fullmatch(r"`(?:[^`]|``)+`", quoted)
    assert quoted[1:-1].replace("``", "`") == name


@given(st.text())
def test_a_literal_ends_where_its_value_ends(value):
    quoted = literal(value)
    assert re.fullmatch(r"'(?:[^'\\]|\\.)*'", quoted, flags=re.S)
    assert "$" not in quoted
    assert (
        re.sub(r"\\(u0024|.)", lambda found: "$" if found[1] == "u0024" else found[1], quoted[1:-1], flags=re.S)
        == value
    )


@given(st.lists(PART, min_size=1, max_size=3))
def test_a_quoted_name_has_the_parts_that_it_was_made_of(parts):
    quoted = ".".join(map(identifier, parts))
    assert name_parts(quoted) == tuple(parts)
    assert table_name(quoted) == quoted


@given(st.text(), st.text())
def test_models_get_names_that_azure_ml_takes_and_no_two_the_same(name, other):
    given_name, given_other = databricks_model_name(name), databricks_model_name(other)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", azureml_model_name(name))
    if given_name != given_other and given_name.count(".") == given_other.count(".") == 2:
        # Two names in three parts fall together only where one holds "--" itself.
        assert azureml_model_name(name) != azureml_model_name(other) or "--" in name + other
    assert azureml_model_name(given_name) == azureml_model_name(name)


@given(st.text(min_size=1), st.text(min_size=1))
def test_experiments_get_names_that_azure_ml_takes_and_no_two_the_same(path, other):
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}", azureml_experiment_name(path))
    assert (azureml_experiment_name(path) == azureml_experiment_name(other)) == (path == other)


@given(st.lists(KEYS, max_size=2_000))
def test_no_batch_has_more_values_of_a_metric_than_the_service_takes_and_none_is_lost(keys):
    metrics = [Metric(key, float(number), 0, number) for number, key in enumerate(keys)]
    batches = within_limits(metrics)
    assert all(count <= 250 for batch in batches for count in Counter(metric.key for metric in batch).values())
    assert sorted(metric.step for batch in batches for metric in batch) == list(range(len(keys)))
    for key in set(keys):
        # The points of a metric keep their order.
        steps = [metric.step for batch in batches for metric in batch if metric.key == key]
        assert steps == sorted(steps)


@given(st.sets(KEYS), st.sets(KEYS), st.sets(KEYS), st.sets(KEYS))
def test_all_but_what_the_service_refuses_is_logged_and_that_is_named(metrics, params, tags, refused):
    logged = []

    def send(*batch):
        items = [item for kind in batch for item in kind]
        if any(item.key in refused for item in items if not isinstance(item, Metric)):
            raise MlflowException("no", error_code=INVALID_PARAMETER_VALUE)
        logged.extend((type(item), item.key) for item in items)

    batch = (
        [Metric(key, 1.0, 0, 0) for key in sorted(metrics)],
        [Param(key, "v") for key in sorted(params)],
        [RunTag(key, "v") for key in sorted(tags)],
    )
    named = [f"param '{key}'" for key in params & refused] + [f"tag '{key}'" for key in tags & refused]
    if named:
        with pytest.raises(MlflowException) as raised:
            send_around_rejected(send, *batch, Limits())
        # One item alone is refused in the service's own words; of many, some are named and the others counted.
        said = raised.value.message
        told = sum(name in said for name in named)
        assert (
            len(metrics) + len(params) + len(tags) == 1 or told == len(named) or f"and {len(named) - told} more" in said
        )
    else:
        send_around_rejected(send, *batch, Limits())
    wanted = {(Metric, key) for key in metrics} | {(Param, key) for key in params - refused}
    assert sorted(logged, key=str) == sorted(wanted | {(RunTag, key) for key in tags - refused}, key=str)
