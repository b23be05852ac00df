"""Everything an operator may set, from the environment or a `.env` file: one variable each, read at one door."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, model_validator
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
_SHORTEST_TOKEN = 16
_OUR_USERS = ("shared", "local")  # whoever has the token that all share, or needs none: both are admins
_LEGAL_USER = re.compile(r"[a-zA-Z0-9_@-]{1,64}")
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


def _token(token: SecretStr) -> SecretStr:
    length = len(token.get_secret_value())
    if length < _SHORTEST_TOKEN:
        msg = f"expected at least {_SHORTEST_TOKEN} characters, got {length}"
        raise ValueError(msg)
    return token


Role = Literal["viewer", "analyst", "admin"]
"""A viewer looks; an analyst decides what is open, and may change an own decision; an admin changes any."""


class WebUser(NamedTuple):
    """Somebody who logs in to the web pages.

    Attributes:
        name: Who it is, in the audit.
        role: What they may do.
        token: What they log in with.
    """

    name: str
    role: Role
    token: str


def read_users(text: str) -> tuple[WebUser, ...]:
    """Read a list of `name:role:token`, with commas or white space between them.

    Raises:
        ValueError: It is none. No token is in the message.
    """
    roles: tuple[Role, ...] = get_args(Role)
    users: list[WebUser] = []
    for number, entry in enumerate(re.split(r"[\s,]+", text.strip(", \t\r\n")), 1):
        name, *rest = entry.split(":", 2)
        role = next((role for role in roles if rest[:1] == [role]), None)
        if len(rest) != 2 or role is None or not _LEGAL_USER.fullmatch(name):  # noqa: PLR2004  (role and token)
            msg = (
                "expected name:role:token, several of them separated by commas, a name of a-z A-Z 0-9 _ @ - and a role "
                f"of {', '.join(roles)}; number {number} is none"
            )
            raise ValueError(msg)
        if name in _OUR_USERS:
            msg = (
                f"expected no user named {' or '.join(_OUR_USERS)}, which the pages use themselves; number {number} is"
            )
            raise ValueError(msg)
        if len(rest[1]) < _SHORTEST_TOKEN:
            msg = f"expected at least {_SHORTEST_TOKEN} characters in the token of {name}, got {len(rest[1])}"
            raise ValueError(msg)
        if any(user.name == name or user.token == rest[1] for user in users):
            msg = f"expected each name and each token once; number {number} ({name}) repeats one"
            raise ValueError(msg)
        users.append(WebUser(name, role, rest[1]))
    return tuple(users)


class WebOidc(NamedTuple):
    """An OpenID Connect provider that users of the web pages log in with.

    Attributes:
        issuer: Who it is: its address.
        client_id: What it knows the pages by.
        client_secret: What the pages show it.
        scopes: What is asked for.
        name_claim: What in its tokens is a user's name, in the audit.
        role_claim: And what says what they may do.
        roles: What that has to hold for a role; `*` is held by everybody.
    """

    issuer: str
    client_id: str
    client_secret: SecretStr
    scopes: str
    name_claim: str
    role_claim: str
    roles: tuple[tuple[str, Role], ...]


def read_roles(text: str) -> tuple[tuple[str, Role], ...]:
    """Read a list of `value:role`, with commas between them.

    Raises:
        ValueError: It is none.
    """
    roles: tuple[Role, ...] = get_args(Role)
    found = []
    for number, entry in enumerate(text.strip(", ").split(","), 1):
        value, _, given = entry.strip().rpartition(":")
        role = next((role for role in roles if given == role), None)
        if not value or role is None:
            msg = (
                "expected value:role, several of them separated by commas, and a role of "
                f"{', '.join(roles)}; number {number} is none"
            )
            raise ValueError(msg)
        found.append((value, role))
    return tuple(found)


def _roles(text: str) -> str:
    read_roles(text)
    return text


def _issuer(address: str) -> str:
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.query or parts.fragment or parts.username is not None:
        got = "one with a login in it" if "@" in address else repr(address)
        msg = f"expected the address of a provider, as https://id.example.com/realms/x, got {got}"
        raise ValueError(msg)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        msg = f"expected https, since a secret is shown there, got {address!r}"
        raise ValueError(msg)
    return address


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _users(users: SecretStr) -> SecretStr:
    read_users(users.get_secret_value())
    return users


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


class _AlertVariables(InitSettingsSource):
    """Gathers the `ALERTS_…` variables, which packs name, into `Settings.alerts`."""

    def __init__(self, settings: type[BaseSettings], variables: Mapping[str, str | None]) -> None:
        found = {name.upper(): value for name, value in variables.items() if name.startswith("alerts_") and value}
        super().__init__(settings, {"alerts": found})


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
    labels_topic: Topic = Field(
        "fraud.labels",
        description="Where it is told what became of events: what people decide on the review page, and chargebacks.",
    )
    audit_topic: Topic = Field("fraud.audit", description="Where it is kept who did what on the review page, and when.")
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
    alert_dead_letter_topic: Topic = Field(
        "fraud.alerts.dead-letters", description="Where alerts go that cannot be delivered, with the reason."
    )
    alert_tries: int = Field(
        8, ge=1, description="How often an alert is tried, after 1 s, 2 s, 4 s and so on, before it is a dead letter."
    )
    alert_start: Literal["end", "beginning"] = Field(
        "end",
        description="Where alerts begin at their first start: at verdicts to come, or at the oldest ones there are.",
    )
    alerts: Annotated[Mapping[str, str], NoDecode] = Field(
        default_factory=dict,
        repr=False,  # tokens and passwords are in them
        validation_alias="ALERTS_*",
        description="Apprise URLs of those who get alerts, separated by white space; a pack names the variable.",
    )
    fraud_web_token: Annotated[SecretStr, AfterValidator(_token)] | None = Field(
        default=None,
        description="What users of the web pages log in with; needed when others than this machine can reach them.",
    )
    fraud_web_users: Annotated[SecretStr, AfterValidator(_users)] | None = Field(
        default=None,
        description="Users of the web pages, each with a token of their own: name:role:token, separated by commas. "
        "A role is viewer, analyst or admin.",
    )
    fraud_web_oidc_issuer: Annotated[str, AfterValidator(_issuer)] | None = Field(
        default=None,
        description="An OpenID Connect provider that users of the web pages log in with: its issuer, an address.",
    )
    fraud_web_oidc_client_id: str | None = Field(
        default=None, description="What the provider knows the web pages by; needed with an issuer."
    )
    fraud_web_oidc_client_secret: SecretStr | None = Field(
        default=None, description="What the web pages show the provider; needed with an issuer."
    )
    fraud_web_oidc_scopes: str = Field("openid email profile", description="What the provider is asked for.")
    fraud_web_oidc_name_claim: str = Field(
        "email", description="What in the provider's ID token is a user's name, in the audit."
    )
    fraud_web_oidc_role_claim: str = Field(
        "groups",
        description="What in the ID token says what a user may do: a text or a list, also within others (`a.b`).",
    )
    fraud_web_oidc_roles: Annotated[str, AfterValidator(_roles)] | None = Field(
        default=None,
        description="What that claim has to hold for a role: value:role, separated by commas; the highest role counts. "
        "`*` is held by everybody who logs in; without it, who has no role is refused. Needed with an issuer.",
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
    def web_users(self) -> tuple[WebUser, ...]:
        """Who has a token of their own."""
        return read_users(self.fraud_web_users.get_secret_value()) if self.fraud_web_users else ()

    @property
    def web_oidc(self) -> WebOidc | None:
        """The provider that users log in with.

        Raises:
            SettingsError: Some of it is set, and not all.
        """
        issuer, client, secret = (
            self.fraud_web_oidc_issuer,
            self.fraud_web_oidc_client_id,
            self.fraud_web_oidc_client_secret,
        )
        needed = {
            "FRAUD_WEB_OIDC_ISSUER": issuer,
            "FRAUD_WEB_OIDC_CLIENT_ID": client,
            "FRAUD_WEB_OIDC_CLIENT_SECRET": secret,
            "FRAUD_WEB_OIDC_ROLES": self.fraud_web_oidc_roles,
        }
        given = [name for name, value in needed.items() if value is not None]
        if not given:
            return None
        if missing := [name for name in needed if name not in given]:
            raise SettingsError([f"{name}: expected it to be set, since {given[0]} is, got none" for name in missing])
        assert issuer is not None
        assert client is not None
        assert secret is not None
        return WebOidc(
            issuer,
            client,
            secret,
            self.fraud_web_oidc_scopes,
            self.fraud_web_oidc_name_claim,
            self.fraud_web_oidc_role_claim,
            read_roles(self.fraud_web_oidc_roles or ""),
        )

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
        gathered = (_KafkaVariables(settings_cls, variables), _AlertVariables(settings_cls, variables))
        return init_settings, *gathered, env_settings, dotenv_settings

    @model_validator(mode="wrap")
    @classmethod
    def _name_the_variables(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            # `from None`: pydantic's own text shows the inputs, and a password could be among them.
            raise SettingsError([_complaint(detail) for detail in error.errors()]) from None


_TOPICS = ("transactions_topic", "fraud_topic", "review_topic", "legit_topic", "dead_letter_topic", "labels_topic")

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
