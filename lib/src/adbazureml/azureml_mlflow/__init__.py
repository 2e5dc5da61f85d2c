"""An Azure ML workspace as an MLflow 3 tracking store: what its service lacks is added on the client's side."""
