import os
import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from detection.settings import Settings, SettingsError


@pytest.fixture(autouse=True)
def a_clean_environment(monkeypatch, tmp_path):
    """No variable of ours and no `.env`, whatever runs the tests."""
    for name in list(os.environ):
        if name.startswith("KAFKA") or name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def complaints():
    with pytest.raises(SettingsError) as caught:
        Settings()
    return caught.value.lines


def test_without_any_variable_it_is_the_documented_defaults():
    settings = Settings()

    assert settings.kafka_broker_url == "localhost:9092"
    assert settings.application_id == "fraud"
    assert [path.name for path in settings.fraud_packs] == ["clicks.toml", "transfers.toml", "payments.toml"]
    assert settings.legit_topic == "queuing.legit"
    assert settings.review_topic == "queuing.review"
    assert settings.fraud_topic == "queuing.fraud"
    assert settings.dead_letter_topic == "fraud.dead-letters"
    assert settings.transactions_topic == "queuing.transactions"
    assert settings.transactions_per_second == 2.0
    assert settings.kafka == {}


def test_the_default_packs_are_found_from_any_folder():
    assert all(path.is_absolute() and path.parent.name == "packs" for path in Settings().fraud_packs)


def test_every_setting_says_what_it_is_for():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_settings_do_not_change():
    with pytest.raises((SettingsError, ValidationError)):
        Settings().fraud_topic = "other"


def test_settings_go_to_another_process_unchanged():
    settings = Settings(kafka={"sasl.username": "u"})

    assert pickle.loads(pickle.dumps(settings)) == settings


def test_dotenv_is_read_and_the_environment_wins_over_it(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text(
        "KAFKA_BROKER_URL=dotenv:1\nFRAUD_TOPIC=dotenv\nKAFKA_SASL_USERNAME=dotenv\nKAFKA_CLIENT_RACK=dotenv\nOTHER=1\n"
    )
    monkeypatch.setenv("FRAUD_TOPIC", "environment")
    monkeypatch.setenv("KAFKA_SASL_USERNAME", "environment")

    settings = Settings()

    assert settings.kafka_broker_url == "dotenv:1"
    assert settings.fraud_topic == "environment"
    assert settings.kafka == {"sasl.username": "environment", "client.rack": "dotenv"}


def test_a_dotenv_that_is_not_utf8_is_one_line_with_its_place_and_without_its_text(tmp_path):
    (tmp_path / ".env").write_bytes(b"FRAUD_TOPIC=a\nKAFKA_SASL_PASSWORD=hunter2\xe4\n")

    with pytest.raises(SettingsError) as caught:
        Settings()

    assert caught.value.lines == [".env: expected UTF-8, got something else in line 2"]
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_an_empty_variable_counts_as_not_set(monkeypatch):
    for name in ("KAFKA_BROKER_URL", "FRAUD_PACKS", "TRANSACTIONS_PER_SECOND", "KAFKA_SASL_PASSWORD"):
        monkeypatch.setenv(name, "")

    assert Settings() == Settings.model_construct()


@pytest.mark.parametrize("variable", ["TRANSACTIONS_TOPIC", "KAFKA_TRANSACTIONS_TOPIC"])
def test_the_transactions_topic_has_two_names(monkeypatch, variable):
    monkeypatch.setenv(variable, "elsewhere")

    settings = Settings()

    assert settings.transactions_topic == "elsewhere"
    assert settings.kafka == {}


def test_all_bad_values_are_told_at_once_each_under_its_variable(monkeypatch, tmp_path):
    (tmp_path / "good.toml").touch()
    for name, value in {
        "KAFKA_BROKER_URL": "http://kafka:9092",
        "APPLICATION_ID": "my app",
        "FRAUD_PACKS": "good.toml, bad.toml,worse.toml",
        "LEGIT_TOPIC": "a/b",
        "KAFKA_TRANSACTIONS_TOPIC": "..",
        "TRANSACTIONS_PER_SECOND": "many",
    }.items():
        monkeypatch.setenv(name, value)

    name = "1 to 249 of the characters a-z A-Z 0-9 . _ -"
    assert complaints() == [
        "KAFKA_BROKER_URL: expected host:port, several of them separated by commas, got 'http://kafka:9092'",
        f"APPLICATION_ID: expected {name}, got 'my app'",
        "FRAUD_PACKS: expected paths of pack files separated by commas, got bad.toml, worse.toml (no such file)",
        f"LEGIT_TOPIC: expected a topic name Kafka takes ({name}, not . or ..), got 'a/b'",
        (
            "TRANSACTIONS_TOPIC or KAFKA_TRANSACTIONS_TOPIC: "
            f"expected a topic name Kafka takes ({name}, not . or ..), got '..'"
        ),
        "TRANSACTIONS_PER_SECOND: expected a valid number, got 'many'",
    ]


def test_an_error_is_its_lines(monkeypatch):
    monkeypatch.setenv("LEGIT_TOPIC", "")
    monkeypatch.setenv("FRAUD_TOPIC", "a b")
    monkeypatch.setenv("REVIEW_TOPIC", "c d")

    with pytest.raises(SettingsError) as caught:
        Settings()

    assert str(caught.value).splitlines() == caught.value.lines
    assert len(caught.value.lines) == 2


@pytest.mark.parametrize("rate", ["0", "-1", "inf", "nan", "1,5"])
def test_a_rate_is_a_finite_number_above_zero(monkeypatch, rate):
    monkeypatch.setenv("TRANSACTIONS_PER_SECOND", rate)

    (line,) = complaints()

    assert line.startswith("TRANSACTIONS_PER_SECOND: expected ")
    assert line.endswith((f"got '{rate}'", f"got {rate}"))


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "...", "x" * 249])
def test_a_topic_name_kafka_takes_is_taken(monkeypatch, name):
    monkeypatch.setenv("FRAUD_TOPIC", name)

    assert Settings().fraud_topic == name


@pytest.mark.parametrize("name", [".", "..", " ", "a b", "a/b", "ä", "a\n", "x" * 250])
def test_a_topic_name_kafka_refuses_is_refused(monkeypatch, name):
    monkeypatch.setenv("FRAUD_TOPIC", name)

    (line,) = complaints()

    assert line.startswith("FRAUD_TOPIC: expected a topic name Kafka takes")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("kafka:9092", "kafka:9092"),
        ("a:1,b:2", "a:1,b:2"),
        ("a:1, b:2 ", "a:1,b:2"),
        ("10.0.0.1:65535", "10.0.0.1:65535"),
        ("[::1]:9092", "[::1]:9092"),
        ("kafka", "kafka"),
        ("SASL_SSL://kafka:9093", "SASL_SSL://kafka:9093"),
        ("my_kafka-0.svc:9092", "my_kafka-0.svc:9092"),
    ],
)
def test_an_address_librdkafka_takes_is_taken(monkeypatch, written, meant):
    monkeypatch.setenv("KAFKA_BROKER_URL", written)

    assert Settings().kafka_broker_url == meant


@pytest.mark.parametrize(
    "address",
    [" ", ":9092", "kafka:", "kafka:0", "kafka:65536", "kafka:x", "a:1,,b:2", "kafka://a:1", "a:1/x", "a b:1"],
)
def test_an_address_nobody_can_connect_to_is_refused(monkeypatch, address):
    monkeypatch.setenv("KAFKA_BROKER_URL", address)

    (line,) = complaints()

    assert line.startswith("KAFKA_BROKER_URL: expected host:port")


def test_packs_are_paths_between_commas(monkeypatch, tmp_path):
    for name in ("one.toml", "two.toml"):
        (tmp_path / name).touch()
    monkeypatch.setenv("FRAUD_PACKS", f" one.toml,{tmp_path}/two.toml,")

    assert Settings().fraud_packs == (Path("one.toml"), tmp_path / "two.toml")


def test_a_list_of_no_packs_is_refused(monkeypatch):
    monkeypatch.setenv("FRAUD_PACKS", " , ")

    assert complaints() == ["FRAUD_PACKS: expected paths of pack files separated by commas, got ' , '"]


def test_kafka_variables_become_librdkafka_names_and_our_own_stay_out(monkeypatch):
    for name, value in {
        "KAFKA_SASL_USERNAME": "u",
        "KAFKA_ENABLE_SSL_CERTIFICATE_VERIFICATION": "false",
        "KAFKA_PORT": "tcp://10.0.0.1:9092",
        "KAFKA_BROKER_URL": "a:1",
        "KAFKA_TRANSACTIONS_TOPIC": "t",
        "KAFKA": "of no meaning",
        "KAFKAESQUE": "1",
    }.items():
        monkeypatch.setenv(name, value)

    assert Settings().kafka == {
        "sasl.username": "u",
        "enable.ssl.certificate.verification": "false",
        "port": "tcp://10.0.0.1:9092",
    }


@pytest.mark.parametrize(
    "variable", ["KAFKA_SASL_PASSWORD", "KAFKA_SSL_KEY_PEM", "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET"]
)
def test_a_secret_is_in_no_text_about_the_settings(monkeypatch, variable):
    monkeypatch.setenv(variable, "hunter2")
    settings = Settings()

    assert "hunter2" in settings.kafka.values()
    assert "hunter2" not in f"{settings} {settings!r} {list(settings.__rich_repr__())}"

    monkeypatch.setenv("FRAUD_TOPIC", "a b")
    with pytest.raises(SettingsError) as caught:
        Settings()
    assert "hunter2" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_there_is_one_door():
    assert [kind.__module__ for kind in BaseSettings.__subclasses__() if kind.__module__ != Settings.__module__] == []


def test_users_of_the_pages_have_a_name_a_role_and_a_token(monkeypatch):
    monkeypatch.setenv("FRAUD_WEB_USERS", "ana:analyst:0123456789abcdef,\nroot:admin:a:token:with:colons")

    users = Settings().web_users

    assert [(user.name, user.role, user.token) for user in users] == [
        ("ana", "analyst", "0123456789abcdef"),
        ("root", "admin", "a:token:with:colons"),
    ]
    assert "0123456789abcdef" not in repr(Settings())


@pytest.mark.parametrize(
    ("users", "told"),
    [
        ("topsecret-topsecret", "number 1 is none"),
        ("ana:topsecret-topsecret", "number 1 is none"),
        ("ana:boss:topsecret-topsecret", "number 1 is none"),
        ("a.b:admin:topsecret-topsecret", "number 1 is none"),
        (":admin:topsecret-topsecret", "number 1 is none"),
        ("shared:viewer:topsecret-topsecret", "expected no user named shared or local"),
        ("ana:admin:topsecret-topsecret2,local:viewer:topsecret-topsecret", "number 2 is"),
        ("ana:admin:topsecret", "expected at least 16 characters in the token of ana, got 9"),
        ("ana:admin:topsecret-topsecret,ana:viewer:topsecret-topsecret2", "number 2 (ana) repeats one"),
        ("ana:admin:topsecret-topsecret,ben:viewer:topsecret-topsecret", "number 2 (ben) repeats one"),
    ],
)
def test_users_that_are_none_are_refused_and_no_token_is_shown(monkeypatch, users, told):
    monkeypatch.setenv("FRAUD_WEB_USERS", users)

    (line,) = complaints()

    assert line.startswith("FRAUD_WEB_USERS: expected ")
    assert told in line
    assert "topsecret" not in line


OIDC = {
    "FRAUD_WEB_OIDC_ISSUER": "https://id.example.com/realms/x",
    "FRAUD_WEB_OIDC_CLIENT_ID": "pages",
    "FRAUD_WEB_OIDC_CLIENT_SECRET": "topsecret",
    "FRAUD_WEB_OIDC_ROLES": "Fraud: the team:analyst, *:viewer",
}


def test_a_provider_is_what_is_set_of_it(monkeypatch):
    assert Settings().web_oidc is None
    for name, value in OIDC.items():
        monkeypatch.setenv(name, value)

    oidc = Settings().web_oidc

    assert (oidc.issuer, oidc.client_id) == ("https://id.example.com/realms/x", "pages")
    assert oidc.client_secret.get_secret_value() == "topsecret"
    assert oidc.roles == (("Fraud: the team", "analyst"), ("*", "viewer"))
    assert "topsecret" not in repr(oidc) + repr(Settings())


@pytest.mark.parametrize("left_out", OIDC)
def test_half_a_provider_is_none(monkeypatch, left_out):
    for name, value in OIDC.items():
        if name != left_out:
            monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        _ = Settings().web_oidc

    (line,) = caught.value.lines
    assert line.startswith(f"{left_out}: expected it to be set, since FRAUD_WEB_OIDC_")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("FRAUD_WEB_OIDC_ISSUER", "http://id.example.com", "expected https, since a secret is shown there"),
        ("FRAUD_WEB_OIDC_ISSUER", "id.example.com", "expected the address of a provider"),
        ("FRAUD_WEB_OIDC_ISSUER", "https://u:p@id.example.com", "expected the address of a provider"),
        ("FRAUD_WEB_OIDC_ISSUER", "https://id.example.com/?x=1", "expected the address of a provider"),
        ("FRAUD_WEB_OIDC_ISSUER", "https://[", "expected the address of a provider"),
        ("FRAUD_WEB_OIDC_ROLES", "admins", "number 1 is none"),
        ("FRAUD_WEB_OIDC_ROLES", "a:viewer, b:boss", "number 2 is none"),
        ("FRAUD_WEB_OIDC_ROLES", ":admin", "number 1 is none"),
        ("FRAUD_WEB_OIDC_ROLES", ",", "number 1 is none"),
    ],
)
def test_a_provider_that_cannot_be_one_is_refused(monkeypatch, name, value, told):
    monkeypatch.setenv(name, value)

    (line,) = complaints()

    assert line.startswith(f"{name}: expected ")
    assert told in line
