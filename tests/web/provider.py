"""A small OpenID Connect provider on the loopback: a real web server with a key of its own, and users who always consent."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT = "fraud-pages"
SECRET = "cAnArY-of-the-client-9f3b"


class Identity:
    """What the provider says, to be changed by a test.

    Attributes:
        url: Its issuer.
        claims: Of the user who logs in; over what a token has by itself.
        without: Claims that a token leaves out.
        algorithm: What tokens are signed by.
        metadata: What it tells of itself, over what is true.
        denies: Whether the user does not consent.
        token_status: What its token endpoint answers.
        asked: What browsers were sent to it with, in their order.
    """

    def __init__(self) -> None:
        self.url = ""
        self.claims: dict[str, Any] = {"email": "ana@example.com", "groups": ["fraud-analysts"]}
        self.without: set[str] = set()
        self.algorithm = "RS256"
        self.metadata: dict[str, Any] = {}
        self.denies = False
        self.token_status = 200
        self.asked: list[dict[str, str]] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._published: list[RSAKey] = []
        self.rotate()

    def rotate(self) -> None:
        """Sign with a new key from now on, and publish no other."""
        self._key = RSAKey.generate_key(2048, {"use": "sig", "kid": secrets.token_hex(4)})
        self._published = [self._key]

    def forge(self) -> None:
        """Sign with a key that is not the published one, though it says so."""
        self._key = RSAKey.generate_key(2048, {"use": "sig", "kid": self._published[0].kid})

    def described(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "id_token_signing_alg_values_supported": ["RS256", "HS256"],
            "code_challenge_methods_supported": ["S256"],
            **self.metadata,
        }

    def keys(self) -> dict[str, Any]:
        return {"keys": [key.as_dict(private=False) for key in self._published]}

    def authorize(self, asked: dict[str, str]) -> str:
        """Where the browser goes back to."""
        self.asked.append(asked)
        back = {"state": asked["state"]}
        if self.denies:
            back |= {"error": "access_denied", "error_description": "<b>not today</b>"}
        else:
            back["code"] = secrets.token_hex(8)
            self._codes[back["code"]] = asked
        return f"{asked['redirect_uri']}?{urlencode(back)}"

    def token(self, authorization: str, given: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """What a code is exchanged for, once, by the client that began, with the verifier of its challenge."""
        asked = self._codes.pop(given.get("code", ""), None)
        expected = f"Basic {base64.b64encode(f'{CLIENT}:{SECRET}'.encode()).decode()}"
        digest = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if authorization != expected:
            return 401, {"error": "invalid_client"}
        if (
            asked is None
            or (asked["code_challenge_method"], asked["code_challenge"]) != ("S256", challenge)
            or asked["redirect_uri"] != given["redirect_uri"]
        ):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": CLIENT,
            "sub": "7",
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if name not in self.without}
        token = {"access_token": "a", "token_type": "Bearer", "expires_in": 300}
        if "id_token" not in self.without:
            token["id_token"] = self._signed(claims)
        return self.token_status, token

    def _signed(self, claims: dict[str, Any]) -> str:
        if self.algorithm == "none":
            parts = [{"alg": "none"}, claims]
            return (
                ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
                + "."
            )
        if self.algorithm == "HS256":  # with what the client's secret is
            header = {"alg": "HS256", "kid": self._key.kid}
            return jwt.encode(header, claims, OctKey.import_key(SECRET))
        header = {"alg": self.algorithm, "kid": self._key.kid}
        return jwt.encode(header, claims, self._key, algorithms=[self.algorithm])


@contextmanager
def running() -> Iterator[Identity]:
    identity = Identity()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/authorize":
                self.send_response(303)
                self.send_header("Location", identity.authorize(dict(parse_qsl(parts.query))))
                self.end_headers()
            elif parts.path in {"/.well-known/openid-configuration", "/keys"}:
                self._say(200, identity.keys() if parts.path == "/keys" else identity.described())
            else:
                self._say(404, {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._say(*identity.token(self.headers.get("Authorization", ""), dict(parse_qsl(body))))

        def _say(self, status: int, told: dict[str, Any]) -> None:
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    identity.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield identity
    finally:
        server.shutdown()
        server.server_close()
