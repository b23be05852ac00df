import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from broker.java import KAFKA_VERSION
from cli.main import app
from detection.settings import Settings
from simulation import TRAFFIC

FILES = ["docker-compose.yml", "docker-compose.cluster.yml", "docker-compose.app.yml"]

Compose = Callable[[str], dict[str, Any]]
Services = dict[str, dict[str, Any]]


@pytest.mark.parametrize("name", FILES)
def test_the_file_follows_the_schema_of_the_compose_specification(compose: Compose, name: str) -> None:
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"

    jsonschema.validate(compose(name), json.loads(schema.read_text()))


@pytest.mark.parametrize("name", FILES)
def test_no_default_is_left_to_fill_in(compose: Compose, name: str) -> None:
    assert "${" not in json.dumps(compose(name))


def test_every_command_is_one_the_fraud_command_takes(ours: Services) -> None:
    for service in ours.values():
        app.parse_args(service["command"], exit_on_error=False, print_error=False)


def test_a_command_that_is_none_would_be_noticed() -> None:
    with pytest.raises(Exception, match="nosuch"):
        app.parse_args(["run", "--nosuch", "2"], exit_on_error=False, print_error=False)


def test_there_is_traffic_for_every_shipped_pack(ours: Services) -> None:
    kinds = {service["command"][1] for service in ours.values() if service["command"][0] == "simulate"}

    assert kinds == {"clicks", "transfers", "payments"}
    assert kinds <= set(TRAFFIC)


def test_without_an_environment_our_services_get_the_defaults_of_the_settings(
    ours: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = Settings(_env_file=None)

    for service in ours.values():
        with monkeypatch.context() as environment:
            for name, value in service["environment"].items():
                environment.setenv(name, str(value))
            given = Settings(_env_file=None)
        assert given == defaults.model_copy(update={"kafka_broker_url": "broker:9092"})


def test_every_variable_our_services_get_is_a_setting(ours: Services) -> None:
    settings = {name.upper() for name in Settings.model_fields}

    for service in ours.values():
        assert set(service["environment"]) <= settings


def test_every_setting_but_the_packs_and_the_clients_reaches_our_services(ours: Services) -> None:
    settings = {name.upper() for name in Settings.model_fields} - {
        "FRAUD_PACKS",
        "KAFKA",
        "ALERTS",
    }  # these come with .env

    for service in ours.values():
        assert settings <= set(service["environment"])


def test_clients_inside_and_outside_are_told_the_address_they_came_by(services: Services) -> None:
    broker = services["broker"]
    listeners = _by_name(broker["environment"]["KAFKA_LISTENERS"])
    advertised = _by_name(broker["environment"]["KAFKA_ADVERTISED_LISTENERS"])
    _, published, target = broker["ports"][0].split(":")

    assert advertised["INSIDE"] == "broker" + listeners["INSIDE"]
    assert services["console"]["environment"]["KAFKA_BROKERS"] == advertised["INSIDE"]
    assert services["fraud"]["environment"]["KAFKA_BROKER_URL"] == advertised["INSIDE"]
    assert listeners["OUTSIDE"] == f":{target}"
    assert advertised["OUTSIDE"] == f"localhost:{published}"
    assert advertised["OUTSIDE"] == Settings(_env_file=None).kafka_broker_url


def _by_name(listeners: str) -> dict[str, str]:
    return dict(listener.split("://") for listener in listeners.split(","))


def test_the_broker_is_the_kafka_the_tests_run_against(services: Services) -> None:
    assert services["broker"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_every_image_has_a_fixed_tag(services: Services) -> None:
    for service in services.values():
        _, _, tag = service["image"].partition(":")
        assert any(character.isdigit() for character in tag), service["image"]


def test_nothing_is_reachable_from_other_machines(services: Services) -> None:
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_who_waits_for_a_service_waits_for_one_that_can_get_there(services: Services) -> None:
    for service in services.values():
        for name, dependency in service.get("depends_on", {}).items():
            awaited = services[name]
            if dependency["condition"] == "service_completed_successfully":
                assert "restart" not in awaited
            else:
                assert dependency["condition"] == "service_healthy"
                assert awaited["healthcheck"]["test"][0] == "CMD"


def test_only_the_dataflow_is_asked_for_its_health(ours: Services) -> None:
    for name, service in ours.items():
        assert service.get("healthcheck") == (None if name == "fraud" else {"disable": True})


def test_the_dataflow_has_time_to_write_its_state_to_a_volume(compose: Compose, services: Services) -> None:
    fraud = services["fraud"]

    assert fraud["stop_grace_period"] == "30s"
    assert fraud["restart"] == "unless-stopped"
    assert "recovery:/var/lib/fraud" in fraud["volumes"]
    assert "recovery" in compose("docker-compose.yml")["volumes"]


def test_alerts_are_asked_for_and_keep_what_waits_to_be_sent_on_a_volume_of_their_own(
    compose: Compose, services: Services
) -> None:
    alerts = services["alerts"]

    assert alerts["profiles"] == ["alerts"]  # the packs that ship tell nobody
    assert alerts["command"] == ["alerts"]
    assert "alerts:/var/lib/fraud" in alerts["volumes"]
    assert "alerts" in compose("docker-compose.yml")["volumes"]
    assert alerts["stop_grace_period"] == "30s"
    assert alerts["restart"] == "unless-stopped"


def test_pages_are_asked_for_and_can_be_reached_from_this_machine(services: Services) -> None:
    for name in ("web", "click-page"):
        (port,) = services[name]["ports"]
        command = services[name]["command"]
        _, published, target = port.split(":")
        assert services[name]["profiles"] == ["pages"]  # they want a token
        assert published == target == (command[command.index("--port") + 1] if "--port" in command else "5000")
    assert {name for name, service in services.items() if "profiles" in service} == {"alerts", "web", "click-page"}


def test_only_the_pages_know_what_people_log_in_with(root: Path, ours: Services) -> None:
    raw = yaml.safe_load((root / "docker-compose.yml").read_text())["services"]
    for name, service in raw.items():
        if name in ours:
            secrets = {key: value for key, value in service["environment"].items() if _is_of_logging_in(key)}
            told = {key: f"${{{key}:-}}" if name == "web" else "" for key in secrets}
            assert secrets == told, name
            assert len(secrets) == 5, name


def _is_of_logging_in(name: str) -> bool:
    return name in {"FRAUD_WEB_TOKEN", "FRAUD_WEB_USERS"} or name.startswith(
        ("FRAUD_WEB_OIDC_ISSUER", "FRAUD_WEB_OIDC_CLIENT")
    )


def test_folders_of_the_checkout_that_are_mounted_exist(services: Services, root: Path) -> None:
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (root / source).is_dir()


def test_the_cluster_alone_is_what_the_app_leaves_out(compose: Compose, services: Services) -> None:
    cluster = compose("docker-compose.cluster.yml")
    app_only = compose("docker-compose.app.yml")

    assert (
        set(cluster["services"])
        == set(app_only["services"])
        == set(services) - {name for name, service in services.items() if "build" in service}
    )
    for name, service in cluster["services"].items():
        assert service == {"extends": {"file": "docker-compose.yml", "service": name}}
    for service in app_only["services"].values():
        assert service == {"profiles": ["elsewhere"]}


def test_the_app_starts_without_a_broker_of_its_own(compose: Compose, services: Services) -> None:
    elsewhere = set(compose("docker-compose.app.yml")["services"])
    for name, service in services.items():
        for awaited, dependency in service.get("depends_on", {}).items():
            assert name in elsewhere or awaited not in elsewhere or dependency.get("required") is False


def test_cluster_and_app_meet_on_one_network_in_two_projects(compose: Compose) -> None:
    cluster = compose("docker-compose.cluster.yml")
    app_only = compose("docker-compose.app.yml")

    assert cluster["networks"] == app_only["networks"] == {"default": {"name": "kafka-network", "external": True}}
    assert cluster["name"] != compose("docker-compose.yml")["name"]
