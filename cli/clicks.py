"""`fraud clicks`."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from broker.logs import logs_to_stderr
from broker.topics import preflight
from cli.errors import BROKER, UsageError
from cli.listening import address_of, listen, url_of
from cli.project import read_project
from cli.stopping import stop_event
from cli.terminal import stdout

_EXTRA = frozenset({"jinja2", "starlette", "uvicorn"})
_HIGHEST_PORT = 65_535


def clicks(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=_HIGHEST_PORT))] = 5001,
    public: bool = False,
    counter: bool = False,
    count_file: Path = Path("click_count.json"),
    trusted_proxy: tuple[str, ...] = (),
) -> int:
    """Serve a page with a button, each press of which is a click on Kafka.

    Args:
        host: The address to serve on.
        port: The port; 0: any that is free.
        public: Serve also on an address that other machines reach. Nobody is asked who they are.
        counter: Send the count after each click too, for the packs that read it.
        count_file: Where the count is kept over restarts.
        trusted_proxy: Take the word of this proxy (an address or a network) for where visitors come from
            (X-Forwarded-For); may be given several times.
    """
    try:
        from web.clicks.app import ClickPage  # noqa: PLC0415  an extra
        from web.clicks.serving import Server  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        msg = "the click page needs its server: pip install 'fraud-streams[page]'"
        raise UsageError(msg) from None
    from web.clicks.count import Count  # noqa: PLC0415
    from web.clicks.records import ClickForm, CountForm, FormError  # noqa: PLC0415
    from web.sending import Sender  # noqa: PLC0415

    trusted = [_network(text) for text in trusted_proxy]
    logs_to_stderr()
    stop_event()  # the server ends by itself, and then passes the signal on to what was there before it
    settings, pack = read_project()
    try:
        form, counts = ClickForm(pack), CountForm(pack) if counter else None
    except FormError as error:
        raise UsageError(str(error)) from None
    address = address_of(host, port)
    if not public and not address.is_loopback:
        msg = f"--host {host}: other machines would reach the page, which asks nobody who they are: add --public"
        raise UsageError(msg)
    with listen(address) as listening:
        preflight(settings, [form.topic, *([counts.topic] if counts else [])])
        count = Count(count_file)
        try:
            stdout().print(
                f"{url_of(listening)}: {count.number:,} clicks so far, further ones go to {form.topic} "
                f"on {settings.kafka_broker_url}"
            )
            server = Server(ClickPage(lambda: Sender(settings), count, form, counts, trusted))
            server.run([listening])
        finally:
            count.close()
    return 0 if server.started else BROKER  # its log says why


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError:
        msg = f"--trusted-proxy: expected an address or a network, got {text!r}"
        raise UsageError(msg) from None
