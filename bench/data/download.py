"""One file over HTTP through pooch: bounded waiting, a progress line, its checksum compared before it gets its name."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

TIMEOUT_S = 5.0  # to look a name up and connect, and for each silence after that

_CHUNK_BYTES = 1 << 20


class DownloadError(Exception):
    """The file could not be had; the message is a short reason."""


def download(urls: Sequence[str], target: Path, checksum: str, say: Callable[[str], None]) -> None:
    """Write a file to `target`, whole or not at all, from the first of `urls` that sends it.

    `checksum` is a SHA-256, or "md5:" and an MD5.

    Raises:
        DownloadError: `target` cannot be written, or no server can be reached and sends the file unchanged.
    """
    import requests  # here, so that commands that download nothing start without it

    reasons = []
    for url in urls:
        host = urlsplit(url).hostname
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _require_connection(url)
            say(f"downloading {target.name} from {host}")
            try:
                return _fetch(url, target, checksum, say)
            except requests.exceptions.ChunkedEncodingError:
                say(f"downloading {target.name} once more: the connection closed before the end")
                return _fetch(url, target, checksum, say)
        except ValueError:  # pooch's, for a checksum
            kind = "MD5" if checksum.startswith("md5:") else "SHA-256"
            reasons.append(f"what {host} sent is damaged (its {kind} is not the published one)")
        except (requests.RequestException, ConnectionError) as error:
            reasons.append(f"{host}: {_reason(error)}")
        except OSError as error:
            reason = error.strerror or " ".join(str(error).split())
            raise DownloadError(f"{target.parent} cannot be written ({reason})") from error
    raise DownloadError("; ".join(dict.fromkeys(reasons)))


def _fetch(url: str, target: Path, checksum: str, say: Callable[[str], None]) -> None:
    import pooch

    pooch.get_logger().setLevel("WARNING")  # `say` tells what happens
    get = pooch.HTTPDownloader(
        progressbar=_Progress(target.name, say),
        chunk_size=_CHUNK_BYTES,
        timeout=TIMEOUT_S,
        headers={"User-Agent": "classic-bench", "Accept-Encoding": "identity"},
    )
    pooch.retrieve(url, checksum, target.name, target.parent, downloader=get)
    target.chmod(0o644)  # pooch lets only its owner read it


class _Progress:
    """What pooch asks of a progress bar, as a line for each tenth."""

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self.total = 0  # bytes, set by pooch; 0: unknown
        self._name, self._say = name, say
        self._received = self._announced = 0

    def update(self, count: int) -> None:
        self._received += count
        tenths = min(10, 10 * self._received // self.total) if self.total else 0
        if tenths > self._announced:
            self._announced = tenths
            self._say(f"downloading {self._name}: {10 * tenths} % of {self.total / 1e6:.0f} MB")

    def reset(self) -> None:
        self._received = 0

    def close(self) -> None:
        pass


def _require_connection(url: str) -> None:
    """Connect once in a thread: without a network, looking a name up can take far longer than any time-out allows.

    Raises:
        ConnectionError: the server cannot be reached within `TIMEOUT_S`.
    """
    from requests.utils import get_environ_proxies

    parts = urlsplit(url)
    if parts.scheme in get_environ_proxies(url):
        return  # the proxy looks names up
    address = (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
    failure: list[str] = [f"no answer within {TIMEOUT_S:g} s"]

    def connect() -> None:
        try:
            socket.create_connection(address, TIMEOUT_S).close()
            failure.clear()
        except OSError as error:
            failure[:] = [error.strerror or str(error)]

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    if failure:
        raise ConnectionError(failure[0])


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection closed before the end"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return f"timed out after {TIMEOUT_S:g} s of silence"
    return str(error)
