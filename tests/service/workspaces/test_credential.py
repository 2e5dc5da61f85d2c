"""Signing in, by the real azure-identity at an emulated Microsoft Entra; every wait is bounded, nobody is asked."""

import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import parse_qs

import pytest
from azure.core.credentials import SupportsTokenInfo, TokenCredential
from tests.emulators.azureml.messages import Problem, json_answer

from adbazureml.azure.clouds import current_cloud
from adbazureml.azure.credential import Credential, credential_for
from adbazureml.errors import CredentialError

SIGN_INS = "oauth2/token"
LATER = 4_000_000_000


@pytest.fixture
def credential(cloud):
    return Credential(current_cloud())


def sign_in(credential):
    return credential.get_token(credential.cloud.scope).token


# They look like tokens: the redactor strikes them out of all later texts of this process.
OF_AZ, ENDING, FRESH = "eyJ-of-the-azure-cli", "eyJ-near-its-end", "eyJ-fresh-from-az"


def answer(token, expires_on=LATER):
    return f'print(json.dumps({{"accessToken": "{token}", "expires_on": {expires_on}}}))'


class TestIdentities:
    def test_a_service_principal(self, azure, credential):
        token = sign_in(credential)
        assert token in azure.secrets
        assert credential.identity == "service principal of the environment"

    def test_a_managed_identity(self, cloud, credential, monkeypatch):
        for name, value in cloud.managed_identity_environment.items():
            monkeypatch.setenv(name, value)
        assert sign_in(credential) in cloud.secrets
        assert credential.identity == "managed identity"

    def test_a_workload_identity(self, azure, credential, monkeypatch, tmp_path):
        def exchange(call):
            assert call.path.endswith("/oauth2/v2.0/token")
            assert parse_qs(call.content.decode())["client_assertion"] == ["of-kubernetes"]
            return json_answer({"token_type": "Bearer", "expires_in": 3600, "access_token": azure.identity.issue()})

        monkeypatch.setattr(azure.identity, "answer", exchange)
        monkeypatch.delenv("AZURE_CLIENT_SECRET")
        (tmp_path / "token").write_text("of-kubernetes")
        monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "token"))
        assert sign_in(credential) in azure.secrets
        assert credential.identity == "workload identity"

    def test_the_azure_cli(self, credential, az):
        calls = az(answer(OF_AZ))
        assert sign_in(credential) == sign_in(credential) == OF_AZ
        [call] = calls.read_text().splitlines()
        assert f"get-access-token --output json --resource {credential.cloud.resource_manager}" in call
        assert credential.identity == "Azure CLI"

    @pytest.mark.usefixtures("azure")
    def test_a_service_principal_is_taken_before_the_azure_cli(self, credential, az):
        calls = az(answer(OF_AZ))
        assert sign_in(credential) != OF_AZ
        assert not calls.exists()

    def test_azure_core_can_use_it(self, credential):
        assert isinstance(credential, TokenCredential)
        assert isinstance(credential, SupportsTokenInfo)

    def test_one_for_each_cloud(self, cloud):
        assert credential_for(current_cloud()) is credential_for(current_cloud())
        assert credential_for(current_cloud()) is not credential_for(current_cloud("AzureCloud"))


class TestTokens:
    def test_one_sign_in_serves_all_threads(self, azure, credential):
        azure.latency = 0.1
        with ThreadPoolExecutor(8) as pool:
            tokens = set(pool.map(lambda _: sign_in(credential), range(16)))
        azure.latency = 0
        assert len(tokens) == len(azure.requests_to(SIGN_INS)) == 1

    def test_renew_signs_in_again(self, azure, credential):
        before = sign_in(credential)
        credential.renew()
        assert sign_in(credential) != before

    def test_a_secret_that_changes_in_the_environment_is_seen(self, azure, credential, monkeypatch):
        before = sign_in(credential)
        azure_secret = os.environ["AZURE_CLIENT_SECRET"]
        try:
            monkeypatch.setenv("AZURE_CLIENT_SECRET", azure.rotate_secret())
            after = sign_in(credential)
            assert after != before
            assert sign_in(credential) == after
        finally:
            azure.rotate_secret(azure_secret)

    def test_a_token_near_its_end_is_replaced(self, credential, az):
        az(answer(ENDING, "int(time.time()) + 200"))
        assert sign_in(credential) == ENDING
        az(answer(FRESH))
        assert sign_in(credential) == FRESH

    def test_and_serves_on_while_no_other_can_be_had(self, credential, az):
        az(answer(ENDING, "int(time.time()) + 200"))
        assert sign_in(credential) == ENDING
        az("sys.exit(1)")
        assert sign_in(credential) == ENDING


class TestNoIdentity:
    def test_names_all_that_was_tried_and_what_to_do(self, cloud, credential):
        with pytest.raises(CredentialError) as caught:
            sign_in(credential)
        message = str(caught.value)
        tried = ("service principal of the environment", "workload identity", "managed identity", "Azure CLI")
        positions = [message.index(f"\n  {name}: ") for name in tried]
        assert positions == sorted(positions)
        assert "AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET not set" in message
        assert "az is not on the PATH" in message
        assert "secret_scope" in message
        assert "az login" in message

    def test_half_a_service_principal_names_the_other_half(self, credential, monkeypatch):
        monkeypatch.setenv("AZURE_TENANT_ID", "t")
        monkeypatch.setenv("AZURE_CLIENT_ID", "c")
        with pytest.raises(CredentialError, match="service principal of the environment: AZURE_CLIENT_SECRET not set"):
            sign_in(credential)

    def test_nobody_logged_in_to_the_azure_cli(self, credential, az):
        az("sys.stderr.write(\"ERROR: Please run 'az login' to setup account.\\n\"); sys.exit(1)")
        with pytest.raises(CredentialError, match=r"Azure CLI: Please run 'az login' to set up an account"):
            sign_in(credential)

    def test_a_sign_in_of_the_azure_cli_that_has_run_out(self, credential, az):
        az("sys.stderr.write('ERROR: AADSTS700082: The refresh token has expired due to inactivity.'); sys.exit(1)")
        with pytest.raises(CredentialError, match=r"Azure CLI: the sign-in of the Azure CLI is no longer good"):
            sign_in(credential)

    def test_is_told_within_ten_seconds_though_everything_hangs(self, credential, az, silent_address, monkeypatch):
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://{silent_address}")
        az("time.sleep(30)")
        start = time.monotonic()
        with pytest.raises(CredentialError) as caught:
            sign_in(credential)
        assert time.monotonic() - start < 25
        assert "managed identity: no answer within 3 s" in str(caught.value)
        assert "Azure CLI: az did not answer within 5 s" in str(caught.value)

    def test_threads_that_waited_share_the_failure(self, cloud, credential, az):
        calls = az("time.sleep(0.5); sys.exit(1)")
        together = threading.Barrier(4)

        def fail(_):
            together.wait()
            with pytest.raises(CredentialError):
                sign_in(credential)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(fail, range(4)))
        assert len(calls.read_text().splitlines()) == 1


class TestRefused:
    @pytest.mark.parametrize(
        ("variable", "message"),
        [
            ("AZURE_CLIENT_SECRET", r"AZURE_CLIENT_SECRET is no secret of application '.+'\. Give the secret's value"),
            ("AZURE_CLIENT_ID", r"AZURE_CLIENT_ID 'not-right': tenant 'adfs' has no such application"),
            ("AZURE_TENANT_ID", r"AZURE_TENANT_ID 'not-right': https://127\.0\.0\.1:\d+ knows no such tenant"),
        ],
    )
    def test_names_the_variable_and_tries_no_other(self, variable, message, azure, credential, az, monkeypatch):
        calls = az(answer(OF_AZ))
        monkeypatch.setenv(variable, "not-right")
        with pytest.raises(CredentialError, match=message):
            sign_in(credential)
        assert not calls.exists()

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("AADSTS7000222", "the secret of application '.+' in AZURE_CLIENT_SECRET has expired. Make a new one"),
            ("AADSTS90002", "AZURE_TENANT_ID 'adfs': https://.+ knows no such tenant"),
            ("AADSTS500011", "tenant 'adfs' does not know https://.+: it belongs to another cloud than Emulated"),
            ("AADSTS7000112", "application '.+' is disabled"),
            ("AADSTS12345", "AADSTS12345: nobody has heard of it"),
        ],
    )
    def test_in_words_for_microsoft_entra_s_codes(self, code, message, azure, credential, monkeypatch):
        def refuse(_):
            raise Problem(401, "invalid_client", f"{code}: nobody has heard of it. Trace ID: 1\r\nTimestamp: 2")

        monkeypatch.setattr(azure.identity, "_token", refuse)
        with pytest.raises(CredentialError, match=message):
            sign_in(credential)

    @pytest.mark.usefixtures("azure")
    def test_a_sign_in_service_that_is_not_there(self):
        away = Credential(replace(current_cloud(), active_directory="https://127.0.0.1:9"))
        with pytest.raises(CredentialError, match=r"https://127\.0\.0\.1:9 can't be reached: check network and proxy"):
            sign_in(away)

    @pytest.mark.usefixtures("azure")
    def test_a_sign_in_service_that_is_silent(self, silent_address, monkeypatch):
        monkeypatch.setattr("adbazureml.azure.credential.SIGN_IN_SECONDS", 0.5)
        silent = Credential(replace(current_cloud(), active_directory=f"https://{silent_address}"))
        start = time.monotonic()
        with pytest.raises(CredentialError, match=r"by the service principal of the environment: no answer within"):
            sign_in(silent)
        assert time.monotonic() - start < 30

    def test_a_workload_identity_that_is_not_accepted(self, azure, credential, monkeypatch, tmp_path):
        monkeypatch.delenv("AZURE_CLIENT_SECRET")
        monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "gone"))
        with pytest.raises(CredentialError, match=r"by the workload identity: .*No such file"):
            sign_in(credential)


class TestSecrets:
    def test_are_in_no_message_although_the_service_repeats_them(self, azure, credential, monkeypatch, caplog):
        caplog.set_level(logging.DEBUG)
        token = sign_in(credential)
        secret = os.environ["AZURE_CLIENT_SECRET"]

        def repeat(call):
            raise Problem(401, "invalid_client", f"AADSTS99: you sent {call.content.decode()} {secret} and {token}")

        monkeypatch.setattr(azure.identity, "_token", repeat)
        credential.renew()
        with pytest.raises(CredentialError, match="AADSTS99") as caught:
            sign_in(credential)
        seen = [str(caught.value), repr(caught.value), repr(credential), caplog.text]
        assert caught.value.__suppress_context__
        for text in seen:
            assert not [one for one in azure.secrets if one in text]
