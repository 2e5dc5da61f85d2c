"""Every parameter of the notebooks, in one frozen object, checked all at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Protocol

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from adbazureml.errors import SettingsError
from adbazureml.text import html_table, identifier, name_parts

# The tables that notebook 03 makes where they are missing.
SAMPLE_TRAINING, SAMPLE_SCORING = "diabetes_training", "diabetes_new"
# The property that tells them from tables of the same name.
SAMPLE_PROPERTY = "adbazureml.sample"
ENVIRONMENT_PREFIX = "ADBAZUREML_"
HOME_VARIABLE = "ADBAZUREML_HOME"
# Variables with the prefix that are no parameters: where the local backends live.
_OTHER_VARIABLES = {HOME_VARIABLE}
# What Databricks hands a job's notebook beside its own parameters.
_DATABRICKS_PARAMETERS = re.compile(r"__.*|job_.*|bundle_.*")

Guid = Annotated[str, StringConstraints(pattern=r"^([0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})?$")]
# As Databricks names secret scopes.
SecretScope = Annotated[str, StringConstraints(pattern=r"^[\w.@-]*$", max_length=128)]
CloudName = Annotated[str, StringConstraints(pattern=r"^[\w-]*$")]


def _spelled(name: str) -> str:
    """Write a table's name with backticks around the parts that need them, so that it is the same however given."""
    try:
        return _joined(name_parts(name))
    except ValueError as error:
        raise ValueError("the name of a table, such as houses or catalog.schema.houses") from error


def _joined(parts: Iterable[str]) -> str:
    return ".".join(part if _NEEDS_NO_QUOTES.fullmatch(part) else identifier(part) for part in parts)


_NEEDS_NO_QUOTES = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A table's name in one to three parts: catalog.schema.table.
TableName = Annotated[str, AfterValidator(_spelled)]
OptionalTableName = Annotated[str, AfterValidator(lambda name: name and _spelled(name))]
ColumnName = Annotated[str, StringConstraints(min_length=1)]
# Unity Catalog takes three parts, Azure ML letters, digits, '-', '_' and '.' up to 255: this fits both.
ModelName = Annotated[str, StringConstraints(pattern=r"^(\w[\w-]*(\.\w[\w-]*){0,2})?$", max_length=200)]
EndpointName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{1,30}[a-z0-9]$")]
OptionalEndpointName = Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9-]{1,30}[a-z0-9])?$")]
RunId = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$")]
Version = Annotated[str, StringConstraints(pattern=r"^(\d+)?$")]
Tracker = Literal["both", "databricks", "azureml"]
DeployTarget = Literal["local", "azureml", "aks", "aci", "databricks"]
GroupName = Literal[
    "workspaces",
    "data",
    "versions",
    "validation",
    "approval",
    "linking",
    "training",
    "deployment",
    "scoring",
    "monitoring",
    "deletion",
]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Workspaces(_Group):
    """Where: the two workspaces, how jobs sign in to Azure, and which of them runs and models go to."""

    subscription_id: Guid = Field("", description="Azure subscription of the Azure ML workspace; empty: local backend")
    resource_group: str = Field("", description="its resource group, not the managed one of Databricks")
    workspace_name: str = Field("", description="the Azure ML workspace, not the Databricks one")
    secret_scope: SecretScope = Field("", description="Databricks secret scope with the service principal for Azure")
    service_credential: SecretScope = Field(
        "", description="service credential of Unity Catalog that signs in to Azure, before secret_scope"
    )
    cloud: CloudName = Field("", description="Azure cloud; empty: AZUREML_CURRENT_CLOUD, or else AzureCloud")
    tracking: Tracker = Field("both", description="where runs are tracked")
    registry: Tracker = Field("both", description="where models are registered")


class Data(_Group):
    """What: the experiment, the tables and columns, the model and the endpoint, by their names."""

    experiment: Annotated[str, StringConstraints(pattern=r"^(/.+[^/])?$")] = Field(
        "",
        description="MLflow experiment, {user_name} is filled in; empty: adbazureml_<training table>, in your folder",
    )
    training_table: TableName = Field(
        SAMPLE_TRAINING, description="Delta table to train on, your own or the sample, which is made when missing"
    )
    label_column: ColumnName = Field("progression", description="the column that the model learns to predict")
    task: Literal["auto", "regression", "classification"] = Field(
        "auto", description="what to learn; auto: classes where the label is text, boolean or like 0 and 1"
    )
    scoring_table: OptionalTableName = Field(
        "", description="table to score; empty: training_table itself, of the sample diabetes_new"
    )
    scoring_condition: str = Field("", description="SQL condition on its rows; empty: all of them")
    target_column: ColumnName = Field("prediction", description="column that takes the predictions")
    predictions_table: OptionalTableName = Field(
        "", description="Delta table of the predictions; empty: <training table>_predictions, in its schema"
    )
    rejected_table: OptionalTableName = Field(
        "", description="Delta table of rows that the model does not take; empty: one such row fails"
    )
    drift_table: OptionalTableName = Field("", description="Delta table of the figures of each run; empty: none")
    checkpoints: str = Field("", description="folder that remembers what was scored, on Databricks in a volume")
    model_name: ModelName = Field(
        "", description="registered model, Spark ML adds _spark; empty: adbazureml_<training table>, in its schema"
    )
    endpoint_name: OptionalEndpointName = Field("", description="name of the endpoint; empty: like the training table")


class Versions(_Group):
    """Which of them, where a notebook runs alone: what the one before otherwise hands on."""

    run_id: RunId = Field("", description="run of the model; empty: handed on, or the newest of the experiment")
    spark_run_id: RunId = Field("", description="run of the Spark ML model, where there is one; likewise")
    model_version: Version = Field("", description="version to deploy and score; empty: handed on, or the newest")


class Validation(_Group):
    """How a new version is judged before it goes live."""

    validation_tolerance: float = Field(
        0.02, ge=0, description="by what share of the champion's error a new version's may be larger"
    )
    validation_rules: str = Field(
        "", description="YAML file of thresholds, slices and other rules for a new version; empty: none"
    )
    validation_mode: Literal["enabled", "dry_run", "disabled"] = Field(
        "enabled", description="whether a version that fails is kept back, only told of, or not looked at"
    )
    promote: bool = Field(True, description="make a version that passes the champion; otherwise only compare")
    fail_if_worse: bool = Field(False, description="end the notebook, and its job, with an error where none passes")


class Approval(_Group):
    """What a person says before a new version goes live."""

    approval_tag: str = Field(
        "approval", description="tag of a version that somebody sets to Approved; its task's name"
    )


class Linking(_Group):
    """How the workspaces are linked, and a missing one made."""

    databricks_workspace: str = Field(
        "", description="name or Azure resource id of the Databricks workspace to link; empty: this one"
    )
    set_link: bool = Field(False, description="link the two in Azure, as the portal's button does; otherwise only show")
    replace_link: bool = Field(False, description="replace a link that is in the way")
    create_workspace: bool = Field(False, description="make the Azure ML workspace where it is missing")
    location: str = Field("", description="region of a new Azure ML workspace; empty: the resource group's")


class Training(_Group):
    """How the sample's models are trained."""

    epochs: int = Field(30, ge=1, le=10_000, description="passes over the training data")
    learning_rate: float = Field(0.002, gt=0, le=10, description="step size of the gradient descent")


class Deployment(_Group):
    """How the endpoint runs."""

    deploy_target: DeployTarget = Field("local", description="where the endpoint runs")
    instance_type: str = Field("", description="machine of an endpoint in the cloud; empty: the target's default")
    compute: str = Field("", description="Kubernetes cluster attached to the Azure ML workspace, for aks")
    container_registry: str = Field(
        "", description="registry that builds the image, for aci; empty: the workspace's own"
    )
    endpoint_port: int = Field(0, ge=0, le=65535, description="port of a local endpoint; 0 takes a free one")
    keep_endpoint: bool = Field(False, description="leave the endpoint running after the notebook")


class Scoring(_Group):
    """How rows are scored."""

    scoring_mode: Literal["incremental", "full"] = Field(
        "incremental", description="score what is new in the table, or all of it again"
    )
    key_columns: str = Field(
        "", description="columns that tell its rows apart, comma between, where rows change; empty: they are only added"
    )


class Monitoring(_Group):
    """How scored rows are compared."""

    drift_threshold: float = Field(0.05, gt=0, description="PSI from which a significant change counts as drift")
    day_column: str = Field("", description="column with the day of a row, to compare each day too")
    alarm_reports: int = Field(
        1, ge=1, description="so many of the last alarm_of reports with new rows must find drift to raise the alarm"
    )
    alarm_of: int = Field(1, ge=1, description="how many reports that looks back, the newest among them")
    fail_on_drift: bool = Field(
        False, description="end the notebook, and its job, with an error where the alarm is raised"
    )


class Deletion(_Group):
    """What goes, typed twice."""

    delete: bool = Field(False, description="really delete in 09; otherwise it only lists")
    delete_kinds: str = Field(
        "", description="kinds to delete, comma between; empty: all but the link and the resource group"
    )
    confirm: str = Field("", description="to delete: the experiment's name, typed once more")
    confirm_resource_group: str = Field("", description="to delete the resource group too: its name, typed once more")


# By the names that notebooks ask for them, in the order in which they are shown.
GROUPS: dict[str, type[_Group]] = {
    group.__name__.lower(): group
    for group in (
        Workspaces,
        Data,
        Versions,
        Linking,
        Training,
        Validation,
        Approval,
        Deployment,
        Scoring,
        Monitoring,
        Deletion,
    )
}


# Pydantic puts the fields of the last base first.
class Surroundings(Protocol):
    """What settings are read from and checked against: the place where the code runs, which only `runtime` knows."""

    def on_databricks(self) -> bool:
        """Whether this is a Databricks cluster or serverless."""
        ...

    def user_name(self) -> str:
        """The user as the workspace names them."""
        ...

    def parameters(self, defaults: Mapping[str, str], *, others: Iterable[str]) -> dict[str, str]:
        """What the notebook's widgets and the job's parameters hold."""
        ...

    def handed_on(self) -> dict[str, str]:
        """What earlier notebooks handed on."""
        ...


_known: list[Surroundings] = []


def use_surroundings(surroundings: Surroundings) -> None:
    """Tell the settings where the code runs; `runtime` does it when it is imported."""
    _known[:] = [surroundings]


def _surroundings() -> Surroundings:
    assert _known, "import Settings from adbazureml, or adbazureml.runtime first"
    return _known[0]


class Settings(
    Deletion, Monitoring, Scoring, Deployment, Approval, Validation, Training, Linking, Versions, Data, Workspaces
):
    """The parameters of all notebooks, in groups.

    `Settings.from_notebook` reads each one from, in this order, the job's parameters or the notebook's widgets, the
    environment (``ADBAZUREML_<NAME>``), what earlier notebooks handed on (locally), and the defaults of the groups.
    """

    @model_validator(mode="after")
    def _named_after_the_training_table(self) -> Settings:
        *place, own = name_parts(self.training_table)
        sample = own == SAMPLE_TRAINING
        name = re.sub(r"[^\w-]", "_", "diabetes" if sample else own)
        beside = {
            "scoring_table": SAMPLE_SCORING if sample else own,
            "predictions_table": f"{name}_predictions",
        }
        derived = {
            "experiment": f"/Users/{{user_name}}/adbazureml_{name}",
            "model_name": ".".join([*place, f"adbazureml_{name}"]),
            "endpoint_name": _endpoint_name(name),
            **{setting: _joined([*place, table]) for setting, table in beside.items()},
        }
        # Frozen for whoever uses it; here it is still being made.
        self.__dict__.update({setting: value for setting, value in derived.items() if not getattr(self, setting)})
        return self

    @model_validator(mode="after")
    def _workspace_whole_or_not_at_all(self) -> Settings:
        names = ("subscription_id", "resource_group", "workspace_name")
        missing = [name for name in names if not getattr(self, name)]
        if 0 < len(missing) < len(names):
            raise ValueError(f"{' and '.join(missing)}: empty; an Azure ML workspace is named by {', '.join(names)}")
        needed = "databricks" not in (self.tracking, self.registry) or self.tracking != self.registry
        if missing and needed and _surroundings().on_databricks():
            raise ValueError(
                f"{' and '.join(missing)}: empty; name the Azure ML workspace, or set tracking and registry to "
                "'databricks' to do without one"
            )
        return self

    # The groups that the notebook asked for: those that its table shows.
    _shown: tuple[str, ...] = PrivateAttr(default=tuple(GROUPS))

    @classmethod
    def from_notebook(cls, *groups: GroupName) -> Settings:
        """Read and check all parameters, from wherever this notebook gets them.

        Parameters
        ----------
        *groups : str
            The groups that this notebook uses: on Databricks each of their parameters gets a widget, and the settings
            show as a table of these. All others are read as well.

        Raises
        ------
        SettingsError
            Names every parameter that is unknown, missing or wrong, with the value seen and what is expected.
        """
        names = names_in(*groups)
        environment, unknown = _from_environment()
        handed_on = {name: value for name, value in _surroundings().handed_on().items() if name in cls.model_fields}
        values: dict[str, Any] = {**handed_on, **environment}
        widgets = {name: str(values.get(name, cls.model_fields[name].default)) for name in names}
        from_notebook = _surroundings().parameters(widgets, others=set(cls.model_fields) - set(names))
        unknown += [
            name
            for name in from_notebook
            if name not in cls.model_fields and not _DATABRICKS_PARAMETERS.fullmatch(name)
        ]
        values |= {name: value for name, value in from_notebook.items() if name in cls.model_fields}
        settings = cls.checked(values, unknown)
        settings._shown = groups or settings._shown
        return settings

    @classmethod
    def from_environment(cls, **given: Any) -> Settings:
        """Read and check all parameters outside a notebook: those given, the environment, the defaults.

        Raises
        ------
        SettingsError
            As `from_notebook`.
        """
        environment, unknown = _from_environment()
        return cls.checked({**environment, **given}, unknown)

    @classmethod
    def checked(cls, values: Mapping[str, Any], unknown: list[str] | None = None) -> Settings:
        """Build settings from values; like the constructor, with one readable error for all that is wrong."""
        problems = [_no_such(name) for name in unknown or []]
        try:
            settings = cls(**values)
        except ValidationError as error:
            problems += [_problem(detail) for detail in error.errors()]
        if problems:
            raise SettingsError("Wrong parameters:\n  " + "\n  ".join(problems))
        return settings

    @property
    def experiment_name(self) -> str:
        """The experiment with the user's name filled in."""
        if "{user_name}" not in self.experiment:
            return self.experiment
        return self.experiment.replace("{user_name}", _surroundings().user_name())

    @property
    def spark_model_name(self) -> str:
        """Registered name of the Spark ML model."""
        return f"{self.model_name}_spark"

    @property
    def challengers_model_name(self) -> str:
        """Registered name of the models that show what becomes of a better and of a worse version."""
        return f"{self.model_name}_challengers"

    @property
    def model_names(self) -> tuple[str, ...]:
        """All that the notebooks register."""
        return self.model_name, self.spark_model_name, self.challengers_model_name

    @property
    def keys(self) -> tuple[str, ...]:
        """The names in `key_columns`."""
        return _listed(self.key_columns)

    @property
    def kinds_to_delete(self) -> tuple[str, ...]:
        """The kinds in `delete_kinds`."""
        return _listed(self.delete_kinds)

    def _repr_html_(self) -> str:
        rows = [
            ("" if place else group, name, str(getattr(self, name)), type(self).model_fields[name].description or "")
            for group in self._shown
            for place, name in enumerate(names_in(group))
        ]
        return html_table(rows, titles=("group", "parameter", "value", "meaning"))


def names_in(*groups: str) -> tuple[str, ...]:
    """Return the names of the parameters in some groups.

    Raises
    ------
    SettingsError
        There is no such group.
    """
    for group in groups:
        if group not in GROUPS:
            raise SettingsError(f"There is no group {group!r} of parameters; there are {', '.join(GROUPS)}.")
    return tuple(name for group in groups for name in GROUPS[group].model_fields)


def _endpoint_name(table: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", table.lower()).strip("-")
    return (name if re.match(r"[a-z].{2}", name) else f"model-{name}")[:32].strip("-")


def _listed(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _from_environment() -> tuple[dict[str, str], list[str]]:
    values, unknown = {}, []
    for variable, value in os.environ.items():
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in _OTHER_VARIABLES:
            name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            if name in Settings.model_fields:
                values[name] = value
            else:
                unknown.append(variable)
    return values, unknown


def _no_such(name: str) -> str:
    return f"{name}: no such parameter; known are {', '.join(Settings.model_fields)}"


# How a value is written, by what its parameter's name ends with.
_WRITTEN = {
    "subscription_id": "an id such as '01234567-89ab-cdef-0123-456789abcdef'",
    "run_id": "an id of 32 digits and letters, such as '0123456789abcdef0123456789abcdef'",
    "model_version": "a number such as '3'",
    "secret_scope": "a name of letters, digits, '-', '_', '.' and '@', such as 'ml-team'",
    "service_credential": "a name of letters, digits, '-', '_', '.' and '@', such as 'azureml'",
    "cloud": "a name such as 'AzureCloud'",
    "experiment": "a path from the root, such as '/Users/someone@example.com/diabetes'",
    "_table": "a table's name in one to three parts, such as 'main.diabetes.training'",
    "model_name": "a model's name in one to three parts, such as 'main.diabetes.progression'",
    "endpoint_name": "3 to 32 lower case letters, digits and '-', a letter first, such as 'diabetes-blue'",
}


def _problem(detail: Any) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    if not name:
        return str(detail["ctx"]["error"])
    if name not in Settings.model_fields:
        return _no_such(name)
    expected = detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if detail["type"] == "string_pattern_mismatch":
        # Pydantic tells the pattern, which is for machines.
        example = Settings.model_fields[name].default
        expected = next((said for end, said in _WRITTEN.items() if name.endswith(end)), f"a name such as {example!r}")
    return f"{name}: {detail['input']!r} is wrong; expected {expected} ({Settings.model_fields[name].description})"
