"""Everything an operator may set, from the environment or a `.env` file: one variable each, read at one door."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, ValidationError, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

_LONGEST_NAME = 249  # Kafka: a topic's folder is named topic-partition, and a file name has at most 255 bytes.
_HIGHEST_PORT = 65_535
_LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]+")
_ADDRESS = re.compile(r"((PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL)://)?([\w.-]+|\[[0-9a-fA-F:.]+\])(:(?P<port>\d{1,5}))?")
_PACKS = Path(__file__).parent.parent / "packs"  # a neighbour in the checkout as well as in the installed wheel


class SettingsError(Exception):
    """Settings that cannot be used: one line for each bad value, each naming the variable to change.

    No `ValueError`: pydantic would take one for a complaint of its own and wrap it.

    Attributes:
        lines: The complaints, in the order of the settings.
    """

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))


def _topic(name: str) -> str:
    if len(name) > _LONGEST_NAME or name in {".", ".."} or not _LEGAL_NAME.fullmatch(name):
        msg = (
            f"expected a topic name Kafka takes (1 to {_LONGEST_NAME} of the characters a-z A-Z 0-9 . _ -, "
            f"not . or ..), got {name!r}"
        )
        raise ValueError(msg)
    return name


def _application_id(name: str) -> str:
    if len(name) > _LONGEST_NAME or not _LEGAL_NAME.fullmatch(name):
        msg = f"expected 1 to {_LONGEST_NAME} of the characters a-z A-Z 0-9 . _ -, got {name!r}"
        raise ValueError(msg)
    return name


def _addresses(text: str) -> str:
    addresses = [address.strip() for address in text.split(",")]
    for address in addresses:
        match = _ADDRESS.fullmatch(address)
        if not match or not 1 <= int(match["port"] or 1) <= _HIGHEST_PORT:
            msg = f"expected host:port, several of them separated by commas, got {text!r}"
            raise ValueError(msg)
    return ",".join(addresses)


def _paths(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    paths = tuple(Path(part.strip()) for part in value.split(",") if part.strip())
    missing = [str(path) for path in paths if not path.is_file()]
    if missing or not paths:
        msg = f"expected paths of pack files separated by commas, got {', '.join(missing) or repr(value)}"
        if missing:
            msg += " (no such file)"
        raise ValueError(msg)
    return paths


Topic = Annotated[str, AfterValidator(_topic)]


class _KafkaVariables(InitSettingsSource):
    """Gathers the `KAFKA_…` variables that are not settings of our own into `Settings.kafka`."""

    def __init__(self, settings: type[BaseSettings], variables: Mapping[str, str | None]) -> None:
        found = {
            name.removeprefix("kafka_").replace("_", "."): value
            for name, value in variables.items()
            if name.startswith("kafka_") and name not in _OUR_KAFKA_VARIABLES and value
        }
        super().__init__(settings, {"kafka": found})


class Settings(BaseSettings):
    """Everything an operator may set: from the environment or `.env`, one variable each, named like the field.

    The environment wins over `.env`, and an empty variable counts as not set, because that is how Compose files
    pass on what nobody gave. What comes in wrong raises `SettingsError`, all of it at once.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    kafka_broker_url: Annotated[str, AfterValidator(_addresses)] = Field(
        "localhost:9092",
        description="Where Kafka answers: host:port, several of them separated by commas.",
    )
    application_id: Annotated[str, AfterValidator(_application_id)] = Field(
        "fraud",
        description="Name of this deployment: the consumer group, and the beginning of its transactional ids. "
        "Two deployments on one cluster need two names.",
    )
    fraud_packs: Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_paths)] = Field(
        tuple(_PACKS / f"{name}.toml" for name in ("clicks", "transfers", "payments")),
        description="The pack files to run, separated by commas. Without it, the three that ship.",
    )
    legit_topic: Topic = Field(
        "queuing.legit", description="Where accepted events go, unless their pack names a topic."
    )
    review_topic: Topic = Field(
        "queuing.review", description="Where events for a person to look at go, unless their pack names a topic."
    )
    fraud_topic: Topic = Field("queuing.fraud", description="Where blocked events go, unless their pack names a topic.")
    dead_letter_topic: Topic = Field(
        "fraud.dead-letters", description="Where messages go that cannot be read as an event, with the error."
    )
    transactions_topic: Topic = Field(
        "queuing.transactions",
        validation_alias=AliasChoices("transactions_topic", "kafka_transactions_topic"),
        description="Where the transfers to judge come from. `KAFKA_TRANSACTIONS_TOPIC` is another name for it.",
    )
    delivery: Literal["exactly_once", "at_least_once"] = Field(
        "exactly_once",
        description="What a reader with `isolation.level=read_committed` sees after a crash: each verdict once, or the "
        "newest ones perhaps twice. The first costs transactions.",
    )
    fraud_fresh: bool = Field(
        default=False,
        description="1 lets an empty recovery store begin where the consumer group is: with empty windows.",
    )
    transactions_per_second: float = Field(
        2.0, gt=0, allow_inf_nan=False, description="How many transactions a second the simulator sends."
    )
    quarantine_tries: int = Field(
        3, ge=1, description="How often a record may crash the dataflow before it becomes a dead letter."
    )
    kafka: Annotated[Mapping[str, str], NoDecode] = Field(
        default_factory=dict,
        # Passwords are among them, and a settings object ends up in a log sooner or later.
        repr=False,
        validation_alias="KAFKA_*",
        description="Any setting of librdkafka, its dots as underscores: `KAFKA_SASL_USERNAME` sets `sasl.username`.",
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            # `from None`: the error carries the whole file, and a password could be in it.
            raise SettingsError([f".env: expected UTF-8, got something else in line {line}"]) from None

    @property
    def topics(self) -> dict[str, str]:
        """The topics that a pack may name by their setting, `${TRANSACTIONS_TOPIC}`."""
        return {name.upper(): getattr(self, name) for name in _TOPICS}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  no secrets directory is read
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Add the `KAFKA_…` variables of the environment and of `.env` to what pydantic-settings reads itself."""
        variables: dict[str, str | None] = {}
        for source in (dotenv_settings, env_settings):  # the later one wins
            if isinstance(source, EnvSettingsSource):
                variables.update(source.env_vars)
        # Before the environment, or else a variable that happens to be called KAFKA would be taken for the field.
        return init_settings, _KafkaVariables(settings_cls, variables), env_settings, dotenv_settings

    @model_validator(mode="wrap")
    @classmethod
    def _name_the_variables(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            # `from None`: pydantic's own text shows the inputs, and a password could be among them.
            raise SettingsError([_complaint(detail) for detail in error.errors()]) from None


_TOPICS = ("transactions_topic", "fraud_topic", "review_topic", "legit_topic", "dead_letter_topic")

DEFAULT_TOPICS: Mapping[str, str] = {name.upper(): Settings.model_fields[name].default for name in _TOPICS}
"""The topics that a pack may name by their setting, where nobody set them."""

_OUR_KAFKA_VARIABLES = {"kafka_broker_url", "kafka_transactions_topic"}


def _complaint(detail: ErrorDetails) -> str:
    names = [str(detail["loc"][0])]
    field = Settings.model_fields.get(names[0])
    if field and isinstance(field.validation_alias, AliasChoices):  # which of them was set is not known here
        names = [str(choice) for choice in field.validation_alias.choices]
    variables = " or ".join(name.upper() for name in names)
    if detail["type"] == "value_error":
        return f"{variables}: {detail['ctx']['error']}"
    expected = detail["msg"].removeprefix("Input should be ").partition(",")[0]
    return f"{variables}: expected {expected}, got {detail['input']!r}"
