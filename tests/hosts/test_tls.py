"""A log that speaks TLS, and wants to know who it speaks with."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.memory import Hosts
from hosts.nats_servers import Server, one_server

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, and server.pem and host.pem that it has signed, with their keys."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "rsa:2048", "-nodes")
    # Python 3.13 takes only an authority whose certificate says that it signs others.
    signs = ("-addext", "keyUsage=critical,keyCertSign", "-subj", "/CN=ca")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", *signs)
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    for name in ("server", "host"):
        made = ("-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("req", *key, "-keyout", f"{name}.key", *made)
        signed_by = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
        signed = ("-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile", "names")
        openssl("x509", "-req", *signed_by, *signed)
    return folder


@pytest.fixture
def server(files: Path) -> Iterator[Server]:
    cert, key = f"--tlscert={files / 'server.pem'}", f"--tlskey={files / 'server.key'}"
    with one_server("--tlsverify", f"--tlscacert={files / 'ca.pem'}", cert, key) as server:
        yield server


def url(server: Server) -> str:
    return server.url.replace("nats://", "tls://")


async def test_a_host_with_a_certificate_takes_part(
    hosts: Hosts, server: Server, files: Path
) -> None:
    mine = {"tls_cert": str(files / "host.pem"), "tls_key": str(files / "host.key")}
    host = hosts.add(url(server), "a", tls_ca=str(files / "ca.pem"), **mine)
    await host.until(lambda: host.member.takes_part())


async def test_without_one_it_says_why_it_does_not(
    hosts: Hosts, server: Server, files: Path
) -> None:
    unknown = hosts.add(url(server), "a", tls_ca=str(files / "ca.pem"))
    await unknown.until(lambda: "CERTIFICATE_REQUIRED" in unknown.member.standing())
    wary = hosts.add(url(server), "b")
    await wary.until(lambda: "CERTIFICATE_VERIFY_FAILED" in wary.member.standing())
