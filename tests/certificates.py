"""A certificate authority of a test's own, made with the `openssl` command."""

import subprocess
from pathlib import Path


class Authority:
    """Signs certificates, and keeps them in a folder.

    Attributes:
        certificate: Its own, for those who shall trust it.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._name = name
        self.certificate = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        _openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-keyout", self._key, "-out", self.certificate,
        )  # fmt: skip

    def server(self, name: str, *, host: str = "IP:127.0.0.1", days: int = 2) -> Path:
        """Key and certificate of a server, in one file as Kafka reads it.

        Args:
            name: Of the file.
            host: Whom it is for, `IP:…` or `DNS:…`.
            days: How long it is good; 0: it ends at once.
        """
        key, request, signed = (self._folder / f"{name}.{ending}" for ending in ("key", "csr", "crt"))
        _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        extensions = self._folder / f"{name}.cnf"
        extensions.write_text(f"subjectAltName={host}\n")
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial",
            "-days", days, "-extfile", extensions, "-out", signed,
        )  # fmt: skip
        both = self._folder / f"{name}.pem"
        both.write_text(key.read_text() + signed.read_text() + self.certificate.read_text())
        return both


def _openssl(*arguments: object) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
