"""What installs an extra of the wheel: its packages by their names, as no index has the wheel."""

from importlib import metadata

import pytest

from adbazureml.runtime.extras import missing_of, pip_install


@pytest.mark.parametrize(("extra", "package"), [("deploy", "azure-ai-ml"), ("local", "delta-spark")])
def test_the_command_names_the_extras_packages_and_no_others(extra, package, monkeypatch):
    command = pip_install(extra)
    assert command.startswith("pip install '")
    assert f"'{package}" in command
    assert "adbazureml" not in command
    assert "mlflow" not in command
    assert missing_of(extra) == ()
    found = metadata.version

    def version(name):
        if name == package:
            raise metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(metadata, "version", version)
    assert missing_of(extra) == (package,)
