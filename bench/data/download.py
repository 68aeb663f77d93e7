"""One file over HTTP: bounded waiting, a progress line, its checksum compared before the file gets its name."""

from __future__ import annotations

import http
import http.client
import secrets
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from bench.data.checksum import Checksum

TIMEOUT_S = 5.0  # for the name, for the connection, and for each silence after it

_CHUNK_BYTES = 1 << 20


class DownloadError(Exception):
    """The file could not be had; the message is a short reason."""


def download(url: str, target: Path, checksum: Checksum, say: Callable[[str], None]) -> None:
    """Write the file at `url` to `target`, whole or not at all.

    Raises:
        DownloadError: `target` cannot be written, the server cannot be reached or stops, or the checksum is wrong.
    """
    host = urlsplit(url).hostname or url
    partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.touch(exist_ok=False)  # before the network is asked: a folder that cannot be written ends it here
    except OSError as error:
        raise DownloadError(f"{target.parent} cannot be written ({error.strerror})") from error
    try:
        _require_name_lookup(url)
        _fetch(url, partial, target.name, say)
        actual = checksum.of(partial)
        if actual != checksum.digits:
            raise DownloadError(f"what {host} sent is damaged ({checksum.kind} {actual}, not {checksum.digits})")
        partial.replace(target)
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"{host}: {_reason(error)}") from error
    finally:
        partial.unlink(missing_ok=True)


def _fetch(url: str, partial: Path, name: str, say: Callable[[str], None]) -> None:
    """Get the whole file; where the connection ends too early, go on from there as long as that brings more of it."""
    while True:
        before = partial.stat().st_size
        try:
            return _fetch_rest(url, partial, name, say)
        except (OSError, http.client.HTTPException):
            if partial.stat().st_size <= before:
                raise


def _fetch_rest(url: str, partial: Path, name: str, say: Callable[[str], None]) -> None:
    received = partial.stat().st_size
    headers = {"User-Agent": "classic-bench", **({"Range": f"bytes={received}-"} if received else {})}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response, partial.open("ab") as file:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:  # from the start, asked for or not
            file.truncate(0)
            received = 0
        length = int(response.headers.get("Content-Length") or 0)
        total = received + length if length else 0
        size = f", {total / 1e6:.0f} MB" if total else ""
        what = f"going on with {name}" if received else f"downloading {name}"
        say(f"{what} from {urlsplit(url).hostname}{size}")
        announced = 10 * received // total if total else 0
        while chunk := response.read(_CHUNK_BYTES):
            file.write(chunk)
            received += len(chunk)
            tenths = 10 * received // total if total else 0
            if tenths > announced:
                announced = tenths
                say(f"downloading {name}: {10 * tenths} %")
        if received < total:
            raise http.client.IncompleteRead(b"", total - received)


def _require_name_lookup(url: str) -> None:
    """Look the host up in a thread: without a network that can take far longer than a socket's time-out."""
    parts = urlsplit(url)
    if parts.scheme in urllib.request.getproxies():
        return  # the proxy looks names up
    failure: list[OSError] = []

    def look_up() -> None:
        try:
            socket.getaddrinfo(parts.hostname, None)
        except OSError as error:
            failure.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    if thread.is_alive():
        raise TimeoutError(f"its name was not found within {TIMEOUT_S:g} s")
    if failure:
        raise failure[0]


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP status {error.code}"
    if isinstance(error, urllib.error.URLError):
        return str(getattr(error.reason, "strerror", None) or error.reason)
    if isinstance(error, http.client.IncompleteRead):
        return "the connection closed before the end"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
