"""Where the code runs, and what differs there: Databricks cluster, Databricks serverless, or a local machine.

The only room that knows: a notebook and every other room ask for a Spark session, a table shown, a parameter or a value
handed on, and get what fits the place. It imports `settings`, to which it tells where they are read, and what is below.
Start reading at `place`, then `spark_session`.
"""

import sys
from typing import TYPE_CHECKING, cast

from adbazureml.runtime.local_spark import registered_tables
from adbazureml.runtime.notebook import display, in_job, in_notebook, notebook_display, parameters, user_name
from adbazureml.runtime.place import Place, home, home_path, on_databricks, place
from adbazureml.runtime.secrets import secret, service_credential
from adbazureml.runtime.spark_models import use_volume_for_spark_models
from adbazureml.runtime.spark_progress import progress
from adbazureml.runtime.spark_session import drop_table, quoted_table, spark, table, table_exists, table_properties
from adbazureml.runtime.task_values import hand_on, handed_on
from adbazureml.settings import HOME_VARIABLE, Settings, use_surroundings

if TYPE_CHECKING:
    from adbazureml.settings import Surroundings

__all__ = [
    "HOME_VARIABLE",
    "Place",
    "Settings",
    "display",
    "drop_table",
    "hand_on",
    "handed_on",
    "home",
    "home_path",
    "in_job",
    "in_notebook",
    "notebook_display",
    "on_databricks",
    "parameters",
    "place",
    "progress",
    "quoted_table",
    "registered_tables",
    "secret",
    "service_credential",
    "spark",
    "table",
    "table_exists",
    "table_properties",
    "use_volume_for_spark_models",
    "user_name",
]

use_surroundings(cast("Surroundings", sys.modules[__name__]))
