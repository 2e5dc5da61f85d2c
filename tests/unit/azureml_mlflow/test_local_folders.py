"""Which folder an address names."""

from pathlib import Path

import pytest

from adbazureml.azureml_mlflow.local_folders import local_folder


@pytest.mark.parametrize(
    ("address", "folder"),
    [
        ("file:///a/b%20c", "/a/b c"),
        ("file://localhost/a/b", "/a/b"),
        ("file://model", "model"),
        ("file://models/one", "models/one"),
        ("models/one", "models/one"),
        ("/a/b", "/a/b"),
    ],
)
def test_paths_and_file_uris_are_folders(address, folder):
    assert local_folder(address) == Path(folder)


@pytest.mark.parametrize(
    "address", ["models:/m-1", "models:/name/1", "runs:/1/model", "azureml://artifacts/1", "s3://b/c"]
)
def test_other_addresses_are_none(address):
    assert local_folder(address) is None
