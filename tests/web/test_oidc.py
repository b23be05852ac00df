"""Logging in with a provider of one's organisation: our server, a provider's, and a browser between them."""

import time
from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from detection.settings import WebOidc, WebUser
from tests.web import provider
from tests.web.conftest import TOKEN
from tests.web.provider import CLIENT, SECRET, Identity
from web.access import COOKIE
from web.oidc import LEEWAY_SECONDS, PENDING, Provider

ROLES = (("fraud-admins", "admin"), ("fraud-analysts", "analyst"))
EXPIRED = -LEEWAY_SECONDS - 5


@pytest.fixture
def identity() -> Iterator[Identity]:
    with provider.running() as found:
        yield found


Serve = Callable[..., Any]


@pytest.fixture
def serve(page, identity: Identity) -> Serve:
    """Serves pages for the provider's users: `serve(roles=...)`."""

    def start(**changed: Any) -> Any:
        settings = WebOidc(identity.url, CLIENT, SecretStr(SECRET), "openid email", "email", "groups", ROLES)  # type: ignore[arg-type]
        others = {name: changed.pop(name) for name in ("token", "users", "review") if name in changed}
        return page(oidc=Provider(settings._replace(**changed)), loopback=False, **others)

    return start


class Browser:
    """Follows where it is sent, and keeps its cookies, by the host's name as they do."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.Client(timeout=20)

    def begin(self) -> str:
        """Go where one logs in; gives the address at the provider."""
        answer = self.client.get(f"{self.url}/login/oidc")
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def consent(self, address: str) -> str:
        """Log in at the provider; gives the address it sends back to."""
        return self.client.get(address).headers["location"]

    def log_in(self) -> httpx.Response:
        return self.client.get(self.consent(self.begin()))

    def page(self, path: str = "/") -> httpx.Response:
        return self.client.get(f"{self.url}{path}", headers={"accept": "text/html"})


def refused(answer: httpx.Response, browser: Browser, status: int = 403, why: object = "") -> None:
    """Nobody is logged in."""
    assert answer.status_code == status, (why, answer.text)
    assert 'role="alert"' in answer.text, why
    assert COOKIE not in answer.headers.get("set-cookie", ""), why
    assert browser.page().headers["location"] == "/login", why


def test_a_user_of_the_provider_logs_in_and_acts_in_their_own_name_and_role(serve: Serve, identity: Identity) -> None:
    served = serve()
    browser = Browser(served.url)
    assert "Log in with your organisation" in browser.page("/login").text
    assert "Token" not in browser.page("/login").text

    answer = browser.log_in()

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookies = {
        name: morsel for line in answer.headers.get_list("set-cookie") for name, morsel in SimpleCookie(line).items()
    }
    assert set(cookies) == {COOKIE, PENDING}
    assert cookies[COOKIE]["httponly"]
    assert cookies[COOKIE]["samesite"] == "lax"
    assert cookies[PENDING].value == ""  # it is of no use any more
    assert browser.page().status_code == 200


def test_what_is_asked_of_the_provider_has_a_state_a_nonce_and_a_challenge_and_no_secret(
    serve: Serve, identity: Identity
) -> None:
    served = serve()
    first, second = Browser(served.url).begin(), Browser(served.url).begin()

    assert first.startswith(f"{identity.url}/authorize?")
    asked = [dict(httpx.URL(address).params) for address in (first, second)]
    assert asked[0]["response_type"] == "code"
    assert asked[0]["client_id"] == CLIENT
    assert asked[0]["redirect_uri"] == f"{served.url}/login/oidc/callback"
    assert asked[0]["code_challenge_method"] == "S256"
    assert asked[0]["scope"] == "openid email"
    for name in ("state", "nonce", "code_challenge"):
        assert len(asked[0][name]) >= 20
        assert asked[0][name] != asked[1][name]
    assert SECRET not in first


def test_behind_a_proxy_with_tls_the_way_back_and_the_cookies_are_for_tls(serve: Serve) -> None:
    served = serve()

    answer = httpx.get(f"{served.url}/login/oidc", headers={"x-forwarded-proto": "https", "host": "fraud.example"})

    assert httpx.URL(answer.headers["location"]).params["redirect_uri"] == "https://fraud.example/login/oidc/callback"
    assert "secure" in answer.headers["set-cookie"].lower()


def test_the_highest_role_that_a_claim_gives_counts(serve: Serve, identity: Identity) -> None:
    served = serve(review=True)
    both = ["x", "fraud-analysts", "fraud-admins"]
    for groups, role in ((["fraud-analysts"], "analyst"), ("fraud-admins", "admin"), (both, "admin")):
        identity.claims["groups"] = groups
        browser = Browser(served.url)
        browser.log_in()

        assert f"ana@example.com ({role})" in browser.page("/review").text


def test_who_has_no_role_is_refused(serve: Serve, identity: Identity) -> None:
    browser = Browser(serve().url)
    for groups in (["others"], [], None, 7, {"fraud-admins": 1}, ["*"], ["fraud-admins "]):
        identity.claims["groups"] = groups

        answer = browser.log_in()

        refused(answer, browser, why=groups)
        assert "You have no role here" in answer.text


def test_or_looks_if_everybody_may(serve: Serve, identity: Identity) -> None:
    identity.claims["groups"] = ["others"]
    browser = Browser(serve(roles=(*ROLES, ("*", "viewer")), review=True).url)
    browser.log_in()

    assert "ana@example.com (viewer)" in browser.page("/review").text


@pytest.mark.parametrize(
    ("name", "claims"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["fraud-admins"]}}),
        ("https://example.com/roles", {"https://example.com/roles": ["fraud-admins"]}),
    ],
)
def test_the_claim_for_roles_may_be_within_another_or_have_dots(
    serve: Serve, identity: Identity, name: str, claims: dict[str, Any]
) -> None:
    identity.claims |= claims
    browser = Browser(serve(role_claim=name, review=True).url)
    browser.log_in()

    assert "ana@example.com (admin)" in browser.page("/review").text


def test_who_has_no_name_of_their_own_is_refused(serve: Serve, identity: Identity) -> None:
    browser = Browser(serve().url)
    good = dict(identity.claims)
    names = ["", None, 7, "a\nb", "a" * 201, "shared", "local"]
    for claims in ({"email_verified": False}, *({"email": name} for name in names)):
        identity.claims = good | claims

        refused(browser.log_in(), browser, why=claims)


def test_a_state_that_this_browser_has_not_begun_is_refused(serve: Serve) -> None:
    """Somebody has another person finish what they have begun, so that this one works in their name."""
    url = serve().url
    evil, browser = Browser(url), Browser(url)
    back = evil.consent(evil.begin())

    refused(browser.client.get(back), browser)  # it has begun nothing
    browser.begin()
    refused(browser.client.get(back), browser)  # or something else


def test_what_does_not_come_from_the_provider_is_refused(serve: Serve) -> None:
    browser = Browser(serve().url)
    for query in ("", "code=x", "state=x", "code=x&state=x", "code=%ff&state=%ff", "error=x&state=x"):
        browser.begin()

        refused(browser.client.get(f"{browser.url}/login/oidc/callback?{query}"), browser, why=query)


def test_what_we_did_not_sign_has_not_begun(serve: Serve) -> None:
    browser = Browser(serve().url)
    for cookie in ("", "x", "99999999999.e30=.00", "é"):
        back = browser.consent(browser.begin())

        answer = httpx.get(back, headers=[(b"cookie", f"{PENDING}={cookie}".encode())])

        assert answer.status_code == 403, cookie


def test_a_session_is_no_log_in_that_has_begun_nor_the_other_way_round(serve: Serve) -> None:
    browser = Browser(serve().url)
    browser.begin()
    pending = browser.client.cookies[PENDING]

    answer = httpx.get(f"{browser.url}/api/state", headers={"cookie": f"{COOKIE}={pending}"})

    assert answer.status_code == 401


def test_a_code_is_good_once(serve: Serve) -> None:
    browser = Browser(serve().url)
    back = browser.consent(browser.begin())
    pending = browser.client.cookies[PENDING]
    assert browser.client.get(back).status_code == 303

    again = httpx.get(back, headers={"cookie": f"{PENDING}={pending}"})

    assert again.status_code == 403


def test_a_token_that_is_not_for_this_log_in_is_refused(serve: Serve, identity: Identity) -> None:
    browser = Browser(serve().url)
    good, now = dict(identity.claims), int(time.time())
    for claims in (
        {"nonce": "another"},
        {"exp": now + EXPIRED},
        {"iat": now + 3_600},
        {"nbf": now + 3_600},
        {"aud": "another"},
        {"aud": ["another"], "azp": CLIENT},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"iss": "https://another.example"},
        {"at_hash": "x"},
    ):
        identity.claims = good | claims

        refused(browser.log_in(), browser, why=claims)
    identity.claims = good
    assert browser.log_in().status_code == 303


def test_a_token_that_does_not_say_for_what_it_is_is_refused(serve: Serve, identity: Identity) -> None:
    browser = Browser(serve().url)
    for name in ("nonce", "exp", "iat", "aud", "iss", "sub", "id_token"):
        identity.without = {name}

        refused(browser.log_in(), browser, why=name)


def test_a_token_that_is_signed_in_a_way_that_the_provider_does_not_sign_in_is_refused(
    serve: Serve, identity: Identity
) -> None:
    browser = Browser(serve().url)
    for algorithm in ("none", "HS256", "PS256"):
        identity.algorithm = algorithm

        refused(browser.log_in(), browser, why=algorithm)


def test_a_token_that_another_has_signed_is_refused(serve: Serve, identity: Identity) -> None:
    identity.forge()
    browser = Browser(serve().url)

    refused(browser.log_in(), browser)


def test_a_new_key_of_the_provider_is_taken_without_a_restart(serve: Serve, identity: Identity) -> None:
    url = serve().url
    assert Browser(url).log_in().status_code == 303

    identity.rotate()

    assert Browser(url).log_in().status_code == 303


def test_who_does_not_consent_is_not_logged_in_and_what_the_provider_said_is_not_on_our_page(
    serve: Serve, identity: Identity
) -> None:
    identity.denies = True
    browser = Browser(serve().url)

    answer = browser.log_in()

    refused(answer, browser)
    assert "not today" not in answer.text


def test_a_provider_that_is_another_or_shows_secrets_around_is_not_used_until_it_is_mended(
    serve: Serve, identity: Identity
) -> None:
    browser = Browser(serve().url)
    for metadata in (
        {"issuer": "https://another.example"},
        {"token_endpoint": "http://another.example/token"},
        {"authorization_endpoint": None},
        {"jwks_uri": ""},
    ):
        identity.metadata = metadata

        refused(browser.client.get(f"{browser.url}/login/oidc"), browser, 502, why=metadata)
    identity.metadata = {}
    assert browser.log_in().status_code == 303


def test_a_provider_that_is_away_or_ill_is_told_and_waited_for_by_nobody_else(serve: Serve, identity: Identity) -> None:
    browser = Browser(serve().url)
    back = browser.consent(browser.begin())
    identity.token_status = 503

    refused(browser.client.get(back), browser, 502)
    away = Browser(serve(issuer="http://127.0.0.1:1").url)
    refused(away.client.get(f"{away.url}/login/oidc"), away, 502)


def test_the_secret_is_in_no_answer_no_log_and_no_text_of_an_object(
    serve: Serve, identity: Identity, capfd: pytest.CaptureFixture[str]
) -> None:
    with capture_logs() as logs:
        served = serve()
        browser = Browser(served.url)
        texts = [browser.begin(), browser.log_in().text]
        identity.token_status = 500
        texts.append(browser.log_in().text)
        identity.claims["nonce"] = "another"
        identity.token_status = 200
        texts.append(browser.log_in().text)
    settings = WebOidc(identity.url, CLIENT, SecretStr(SECRET), "openid", "email", "groups", ())

    assert len(logs) == 2
    for told in (*texts, str(logs), repr(settings), "".join(capfd.readouterr())):
        assert SECRET not in told


def test_after_the_log_out_one_has_to_log_in_again(serve: Serve) -> None:
    browser = Browser(serve().url)
    browser.log_in()
    assert browser.page().status_code == 200

    answer = browser.client.post(f"{browser.url}/logout", headers={"origin": browser.url})

    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert browser.page().headers["location"] == "/login"


def test_the_session_is_changed_by_nobody_and_none_where_the_provider_is_not_asked(serve: Serve, page) -> None:
    browser = Browser(serve().url)
    browser.log_in()
    cookie = browser.client.cookies[COOKIE]
    until, content, signature = cookie.split(".")
    other = page(token=TOKEN, loopback=False)

    for sent in (f"{until}.{content[:-4]}AAAA.{signature}", f"{int(until) + 1}.{content}.{signature}"):
        answer = httpx.get(f"{browser.url}/api/state", headers={"cookie": f"{COOKIE}={sent}"})
        assert answer.status_code == 401
    assert httpx.get(f"{other.url}/api/state", headers={"cookie": f"{COOKIE}={cookie}"}).status_code == 401


def test_tokens_go_on_beside_it(serve: Serve) -> None:
    served = serve(users=(WebUser("vera", "viewer", TOKEN),))
    browser = Browser(served.url)

    assert "Token" in browser.page("/login").text
    browser.client.post(f"{served.url}/login", data={"token": TOKEN}, headers={"origin": served.url})
    assert browser.page().status_code == 200
    assert Browser(served.url).log_in().status_code == 303


def test_without_a_provider_there_is_no_way_to_one(page) -> None:
    served = page(token=TOKEN, loopback=False)

    assert served.client.get("/login/oidc").status_code == 404
    assert "organisation" not in served.client.get("/login").text
