import pytest
from tools import parameters

from adbazureml import Settings
from adbazureml.errors import SettingsError
from adbazureml.runtime import hand_on


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("ADBAZUREML_HOME", str(tmp_path))


def test_defaults_are_a_whole_local_walk():
    settings = Settings.from_notebook()
    assert settings.tracking == settings.registry == "both"
    assert settings.experiment_name.startswith("/Users/")
    assert "{" not in settings.experiment_name


def test_environment_beats_what_was_handed_on_which_beats_the_default(monkeypatch):
    hand_on(run_id="a" * 32, model_version="3", scored="this is no parameter")
    monkeypatch.setenv("ADBAZUREML_MODEL_VERSION", "4")
    settings = Settings.from_notebook()
    assert (settings.run_id, settings.model_version, settings.epochs) == ("a" * 32, "4", 30)


def test_all_that_is_wrong_is_said_at_once(monkeypatch):
    wrong = {"EPOCHS": "zero", "TRACKING": "nowhere", "ENDPOINT_PORT": "70000", "TRAINING_TABLE": "two words"}
    for name, value in wrong.items():
        monkeypatch.setenv(f"ADBAZUREML_{name}", value)
    monkeypatch.setenv("ADBAZUREML_EPOCS", "3")
    with pytest.raises(SettingsError) as caught:
        Settings.from_notebook()
    message = str(caught.value)
    for name, value in wrong.items():
        assert f"{name.lower()}: '{value}' is wrong; expected" in message
    assert "ADBAZUREML_EPOCS: no such parameter; known are" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("subscription_id", "our subscription"),
        ("secret_scope", "two words"),
        ("service_credential", "two words"),
        ("cloud", "https://management.azure.com"),
        ("experiment", "no-leading-slash"),
        ("model_name", "a.b.c.d"),
        ("endpoint_name", "Upper"),
        ("run_id", "12"),
        ("model_version", "latest"),
        ("training_table", "a table"),
        ("predictions_table", "catalog.schema.table.column"),
        ("task", "clustering"),
        ("drift_threshold", "-1"),
    ],
)
def test_a_wrong_value_names_the_parameter_and_the_value(name, value):
    with pytest.raises(SettingsError, match=f"{name}: '{value}' is wrong; expected") as caught:
        Settings.checked({name: value})
    # A name or an example, and nothing that is for machines.
    assert not set("^$|\\\\") & set(str(caught.value))


def test_an_azure_ml_workspace_needs_all_three_names():
    with pytest.raises(SettingsError, match="subscription_id and resource_group: empty"):
        Settings.checked({"workspace_name": "w"})


def test_text_from_a_job_becomes_typed():
    settings = Settings.checked({"epochs": "7", "keep_endpoint": "true", "drift_threshold": "0.1"})
    assert (settings.epochs, settings.keep_endpoint, settings.drift_threshold) == (7, True, 0.1)


def names_of(settings):
    names = ("scoring_table", "predictions_table", "model_name", "endpoint_name", "experiment")
    return tuple(getattr(settings, name) for name in names)


@pytest.mark.parametrize(
    ("table", "names"),
    [
        (
            "diabetes_training",
            (
                "diabetes_new",
                "diabetes_predictions",
                "adbazureml_diabetes",
                "diabetes",
                "/Users/{user_name}/adbazureml_diabetes",
            ),
        ),
        (
            "main.dev.diabetes_training",
            (
                "main.dev.diabetes_new",
                "main.dev.diabetes_predictions",
                "main.dev.adbazureml_diabetes",
                "diabetes",
                "/Users/{user_name}/adbazureml_diabetes",
            ),
        ),
        (
            "main.sales.House_Prices",
            (
                "main.sales.House_Prices",
                "main.sales.House_Prices_predictions",
                "main.sales.adbazureml_House_Prices",
                "house-prices",
                "/Users/{user_name}/adbazureml_House_Prices",
            ),
        ),
        (
            "main-eu.2026.1st-quarter",
            (
                "`main-eu`.`2026`.`1st-quarter`",
                "`main-eu`.`2026`.`1st-quarter_predictions`",
                "main-eu.2026.adbazureml_1st-quarter",
                "model-1st-quarter",
                "/Users/{user_name}/adbazureml_1st-quarter",
            ),
        ),
    ],
)
def test_what_is_not_named_is_named_after_the_training_table(table, names):
    settings = Settings(training_table=table)
    assert names_of(settings) == names
    # And is what somebody may name.
    checked = Settings.checked({**settings.model_dump(), "training_table": "another"})
    assert names_of(checked) == names


def test_what_is_named_is_not_derived_and_an_empty_widget_names_nothing():
    settings = Settings.checked({"training_table": "houses", "model_name": "prices", "scoring_table": ""})
    assert (settings.model_name, settings.spark_model_name, settings.scoring_table) == (
        "prices",
        "prices_spark",
        "houses",
    )


@pytest.mark.parametrize("given", ["my-catalog.s.t", "`my-catalog`.s.t", "`my-catalog`.`s`.`t`"])
def test_a_table_is_the_same_however_its_name_is_quoted(given):
    assert Settings(drift_table=given, training_table=given).drift_table == "`my-catalog`.s.t"
    assert Settings(training_table=given).training_table == "`my-catalog`.s.t"


def test_long_and_odd_names_of_tables_make_endpoints_that_every_target_takes():
    for table in ("t", "x" * 80, "größe", "a--b", "_private_", "ends-with-a-very-long-name-of-its-own-"):
        name = Settings(training_table=table).endpoint_name
        assert Settings(endpoint_name=name).endpoint_name == name
        assert "--" not in name


def test_the_table_shows_what_the_notebook_asked_for():
    html = Settings.from_notebook("training", "scoring")._repr_html_()
    assert "<td>training</td><td>epochs</td>" in html
    assert "<td>model_name</td>" not in html


def test_a_group_that_is_not_there_is_told():
    with pytest.raises(SettingsError, match="no group 'trainig' of parameters; there are workspaces, data"):
        Settings.from_notebook("trainig")


def test_docs_and_jobs_say_of_each_parameter_what_the_settings_say():
    for file, text in parameters.written().items():
        assert file.read_text(encoding="utf-8") == text, f"{file.name}: run `make parameters`"
