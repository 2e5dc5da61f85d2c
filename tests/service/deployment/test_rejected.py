"""What is refused before anything is created: names, models, requirements, parameters."""

import os
import zipfile
from importlib import metadata

import mlflow
import pytest

from adbazureml.deployment import LiveLimits, Local, ManagedOnline, deploy, endpoints, find_endpoint
from adbazureml.deployment.deployable import Deployable
from adbazureml.deployment.model_environment import Requirements
from adbazureml.errors import DeploymentError

from .conftest import REQUIREMENTS, SIGNATURE
from .models import line

# Before any emulator's certificate takes the place of those of package indexes.
OUTSIDE = dict(os.environ)


@pytest.fixture(autouse=True)
def nothing_was_created(home):
    before = set(home.glob("endpoints/*"))
    yield
    assert set(home.glob("endpoints/*")) == before


def logged(model, **options):
    options = {"pip_requirements": REQUIREMENTS, "signature": SIGNATURE, **options}
    with mlflow.start_run():
        return mlflow.sklearn.log_model(model, name="model", **options).model_uri


@pytest.mark.parametrize("name", ["", "a", "Upper", "../up", "end-", "x" * 33])
def test_wrong_name(store, name):
    with pytest.raises(DeploymentError, match=r"name .* is wrong: use 3 to 32"):
        deploy(store.v1, name=name)


def test_unknown_target(store):
    with pytest.raises(DeploymentError, match="target 'mars' is not known: set it to one of 'local', 'azureml'"):
        deploy(store.v1, name="other", target="mars")


@pytest.mark.parametrize("target", ["azureml", "aks", "aci"])
def test_azure_without_a_workspace(store, target):
    with pytest.raises(DeploymentError, match=f"target '{target}' needs an Azure ML workspace: deploy"):
        deploy(store.v1, name="other", target=target)


@pytest.mark.parametrize("target", ["azureml", "aks", "aci"])
def test_azure_without_the_packages_that_it_needs(store, target, monkeypatch):
    found, absent = metadata.version, "azure-ai-ml"

    def version(package):
        if package == absent:
            raise metadata.PackageNotFoundError(package)
        return found(package)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(DeploymentError, match=f"not installed .{absent}.: pip install .*'{absent}==.*01_install"):
        deploy(store.v1, name="other", target=target)


@pytest.mark.parametrize("port", [-1, 65536, "8080", None])
def test_port_out_of_range(store, port):
    with pytest.raises(DeploymentError, match=r"port .* out of range: set it to 1024 to 65535, or 0"):
        deploy(store.v1, name="other", target=Local(port=port))


@pytest.mark.parametrize("steps", [(), (50, 101), (50, 10, 100), (0, 100), (10, 10, 100)])
def test_wrong_steps(store, steps):
    with pytest.raises(DeploymentError, match=r"steps .*: give rising percents of the traffic, 1 to 100"):
        deploy(store.v1, name="other", steps=steps)


@pytest.mark.parametrize("steps", [(10,), (10, 100)])
def test_steps_where_traffic_is_not_split(store, steps):
    with pytest.raises(DeploymentError, match=r"steps \[10.*\]: 'local' gives all traffic to one model"):
        deploy(store.v1, name="other", steps=steps)


def test_watching_a_version_that_has_none_beside_it(store):
    with pytest.raises(DeploymentError, match=r"watch: a version that gets all traffic at once .*steps=\[10, 100\]"):
        deploy(store.v1, name="other", watch=LiveLimits())


@pytest.mark.parametrize(("option", "value"), [("auth", "password"), ("instance_count", 0)])
def test_wrong_options(store, option, value):
    with pytest.raises(DeploymentError, match=f"{option} .*: expected"):
        deploy(store.v1, name="other", target=ManagedOnline(**{option: value}))


@pytest.mark.parametrize(
    "model_uri", ["models:/deploy_lines/9", "models:/nobody/1", "models:/m-0", "runs:/0/model", "nowhere", ""]
)
def test_model_that_does_not_exist(store, model_uri):
    with pytest.raises(DeploymentError, match=r"model_uri .* can't be read from sqlite:.*mlflow.db: ") as caught:
        deploy(model_uri, name="other")
    assert len(str(caught.value).splitlines()) == 1


def test_endpoint_that_does_not_exist(store):
    with pytest.raises(DeploymentError, match=r"name 'nobody': there is no such endpoint \(local\)"):
        find_endpoint("nobody")
    assert "nobody" not in {endpoint.name for endpoint in endpoints()}


def test_model_without_signature(store):
    with pytest.raises(DeploymentError, match=r"has no signature, .*: log it with signature= or input_example="):
        deploy(logged(line(1.0), signature=None), name="other")


def test_model_of_a_flavor_that_cannot_be_served(store, tmp_path):
    model = mlflow.models.Model(signature=SIGNATURE)
    model.add_flavor("onlyhere", data="weights")
    model.save(str(tmp_path / "MLmodel"))
    with pytest.raises(DeploymentError, match=r"can't be served: its flavors \(onlyhere\) have no python_function"):
        deploy(str(tmp_path), name="other")


def test_spark_ml_model_unless_asked_for(store, tmp_path):
    model = mlflow.models.Model(signature=SIGNATURE)
    model.add_flavor("spark", model_data="sparkml", pyspark_version="4.1.0")
    model.add_flavor("python_function", loader_module="mlflow.spark", data="sparkml")
    model.save(str(tmp_path / "MLmodel"))
    with pytest.raises(DeploymentError, match=r"is a Spark ML model: .* about 100 times slower .*accept_slow=True"):
        deploy(str(tmp_path), name="other")


@pytest.mark.parametrize("without_uv", [False, True])
def test_requirements_that_do_not_resolve_with_the_servers(store, monkeypatch, without_uv):
    # pip asks an index, by the certificates that this machine has for it, not by an emulator's.
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)
        if name in OUTSIDE:
            monkeypatch.setenv(name, OUTSIDE[name])
    if without_uv:
        monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(
        DeploymentError, match=r"do not resolve together with those of the inference server .*flask"
    ) as said:
        deploy(logged(line(1.0), pip_requirements=["scikit-learn==1.6.1", "flask==1.0"]), name="other")
    assert len(str(said.value).splitlines()) == 1


def test_requirements_are_the_models_and_the_servers(store):
    model = Deployable(uri=store.v1, model=mlflow.models.Model.load(store.v1))
    wanted = model.requirements.wanted
    assert {"scikit-learn==1.6.1", "azureml-inference-server-http==1.5.1", "azureml-ai-monitoring==1.0.0"} <= set(
        wanted
    )
    assert f"mlflow-skinny=={mlflow.__version__}" in wanted
    assert model.fingerprint == Deployable(uri=store.logged, model=mlflow.models.Model.load(store.logged)).fingerprint
    assert model.fingerprint != Deployable(uri=store.v2, model=mlflow.models.Model.load(store.v2)).fingerprint
    pins = model.folder.pins
    assert all("==" in pin for pin in pins)
    assert {"scikit-learn==1.6.1", "azureml-inference-server-http==1.5.1"} <= set(pins)
    assert model.folder.requirements.read_text().split() == list(pins)


def test_options_of_pip_are_kept(store, monkeypatch):
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    wanted = ("--extra-index-url https://example.invalid/simple", "six==1.17.0")
    pins = Requirements(python="3.12", wanted=wanted).resolve
    with pytest.warns(UserWarning, match="requirements were not checked"):
        assert pins() == wanted


def test_the_index_is_asked_once_for_the_same_requirements(tmp_path):
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as content:
        content.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        content.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        content.writestr("tiny-1.0.dist-info/RECORD", "")
    offline = ("--no-index", f"--find-links {tmp_path}")
    assert Requirements(python="3.12", wanted=(*offline, "tiny")).resolve() == (*offline, "tiny==1.0")
    wheel.unlink()
    assert Requirements(python="3.12", wanted=(*offline, "tiny")).resolve() == (*offline, "tiny==1.0")
    with pytest.raises(DeploymentError, match="do not resolve together"):
        Requirements(python="3.12", wanted=(*offline, "tiny>0")).resolve()
