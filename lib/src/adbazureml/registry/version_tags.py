"""The tags of registered versions: what each was made of, and where its counterpart is."""

from __future__ import annotations

# Tags of a version. Unity Catalog takes none of ". , - = / :" in a tag's key.
RUN_ID = "adbazureml_run_id"
MODEL = "adbazureml_model"
# Tells the versions of one call, should an answer be lost and the request be sent again.
REQUEST = "adbazureml_request"
# Where the counterpart in the other workspace is.
COUNTERPART_WORKSPACE = "adbazureml_counterpart_workspace"
COUNTERPART_VERSION = "adbazureml_counterpart_version"
COUNTERPART_RUN = "adbazureml_counterpart_run_id"
COUNTERPART_URL = "adbazureml_counterpart_url"
# Tag of the registered model in Azure ML: the name that it was made for.
DATABRICKS_NAME = "adbazureml_databricks_name"
