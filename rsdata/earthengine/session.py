"""The one connection of a process to Earth Engine, through the official client."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from rsdata.remote.http import DEADLINE_S, Client, is_loopback
from rsdata.remote.limits import limiter_of
from rsdata.remote.retry import ANSWERS, NETWORK, Backoff, RemoteError, of_status, retrying
from shards.errors import ConfigError
from shards.failures import FailureClass

T = TypeVar("T")
HIGH_VOLUME = "https://earthengine-highvolume.googleapis.com"
"""The endpoint for many small requests; the same protocol as the standard one."""
WORKLOAD_TAG = "rsdata"
OPENING = Backoff(attempts=8, cap_s=4.0, total_s=20.0)
"""While nothing has begun yet, an endpoint that is down is soon said."""
_HOW = (
    "run `earthengine authenticate`, or choose --credentials service-account (its key file named by "
    "GOOGLE_APPLICATION_CREDENTIALS), or --credentials anonymous for a server that asks for none"
)


class Account(Protocol):
    """What a session needs to know; the options of a source have it."""

    @property
    def endpoint(self) -> str | None:
        """Base URL; None is the high-volume endpoint."""

    @property
    def project(self) -> str | None:
        """Cloud project that is charged."""

    @property
    def credentials(self) -> str:
        """`persistent`, `service-account` or `anonymous`."""

    @property
    def threads(self) -> int:
        """Calls at once."""

    @property
    def rate(self) -> float | None:
        """Calls a second; None is no limit."""


class Session:
    """A ready client: every call of it waits for the limiter and is tried again where that helps."""

    def __init__(self, endpoint: str, project: str) -> None:
        self.endpoint, self.project = endpoint, project
        self.host = urlsplit(endpoint).netloc

    def value(self, expression: Any) -> Any:
        """Compute an expression to plain JSON.

        Raises:
            RemoteError: it failed for good.
            ConfigError: access is denied.
        """
        import ee

        return retrying(lambda: self._call(lambda: ee.data.computeValue(expression)), ANSWERS)

    def pixels(self, request: dict[str, Any], read: Callable[[bytes], T]) -> T:
        """Compute pixels and read them; what cannot be read is asked for again a few times.

        Args:
            request: as that of `ee.data.computePixels`.
            read: the bytes to anything; raises RemoteError where they are not what was asked for.

        Raises:
            RemoteError: it failed for good.
            ConfigError: access is denied.
        """
        import ee

        return retrying(lambda: read(self._call(lambda: ee.data.computePixels(request))), ANSWERS)

    def _call(self, call: Callable[[], Any]) -> Any:
        import ee
        from google.auth.exceptions import GoogleAuthError, TransportError

        try:
            return call()
        except ee.EEException as error:
            response = getattr(error.__context__, "resp", None)
            if response is None:
                raise RemoteError(FailureClass.INVALID, f"{self.host}: {error}") from None
            fault = of_status(int(response.status), self.host, str(error), response.get("retry-after"))
            if fault.kind is FailureClass.REFUSED:
                raise _denied(self.endpoint, self.project, str(error)) from None
            raise fault from None
        except (TransportError, ConnectionError, TimeoutError) as error:
            raise RemoteError(FailureClass.TRANSIENT, f"{self.host}: {error}", again=True) from None
        except GoogleAuthError as error:
            raise _expired(self.endpoint, error) from None
        except (ValueError, KeyError, TypeError):
            raise RemoteError(
                FailureClass.INVALID,
                f"{self.host} sent an answer that is not the JSON of Earth Engine",
                again=True,
            ) from None


_opening = threading.Lock()
_open: dict[tuple[Any, ...], Session] = {}


def open_session(account: Account, *, backoff: Backoff = NETWORK, deadline_s: float = DEADLINE_S) -> Session:
    """The session of an account; the client keeps its state in globals, so a process has one at a time.

    Args:
        account: endpoint, project, credentials and limits.
        backoff: of calls that fail for the network.
        deadline_s: of one call.

    Raises:
        ConfigError: no credentials, no project, an expired token, no access, or nothing answers at the endpoint.
    """
    endpoint = (account.endpoint or HIGH_VOLUME).rstrip("/")
    key = (endpoint, account.project, account.credentials, account.threads, account.rate, backoff, deadline_s)
    with _opening:
        if key not in _open:
            _open.clear()
            _open[key] = _initialise(account, endpoint, backoff, deadline_s)
        return _open[key]


def _initialise(account: Account, endpoint: str, backoff: Backoff, deadline_s: float) -> Session:
    import ee
    from ee import _state

    _check_url(endpoint)
    credentials, project = _credentials(account.credentials)
    project = account.project or project or ("local" if is_loopback(endpoint) else None)
    if project is None:
        raise ConfigError(
            "Earth Engine needs a Cloud project that is registered for it; give its name with --project"
        )
    service = f"{endpoint} {project}"
    client = Client(
        endpoint,
        limiter_of(service, account.threads, account.rate),
        backoff=OPENING,
        deadline_s=deadline_s,
    )
    ee.Reset()
    # Not empty, so the client does not fetch the list from another host, where it sets no deadline; no asset has this name.
    ee.deprecation.deprecated_assets = {"-": None}  # type: ignore[dict-item]
    _state.get_state().requests_session = client
    ee.data.setMaxRetries(0)  # the retries are ours
    session = Session(endpoint, project)
    try:
        retrying(
            lambda: session._call(lambda: ee.Initialize(credentials, endpoint, project=project)), ANSWERS
        )
    except RemoteError as error:
        raise ConfigError(
            f"{endpoint}: Earth Engine cannot be reached ({error.reason}); check --endpoint and the network"
        ) from None
    client.backoff = backoff
    ee.data.setDefaultWorkloadTag(WORKLOAD_TAG)
    return session


def _check_url(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--endpoint {endpoint}: is not a URL; give one such as {HIGH_VOLUME}")
    if parts.scheme == "http" and not is_loopback(endpoint):
        raise ConfigError(f"--endpoint {endpoint}: would send credentials in the clear; use https")


def _credentials(kind: str) -> tuple[Any, str | None]:
    """Credentials of the client and the project that they name, without asking any server.

    Raises:
        ConfigError: there are none, or their file is broken.
    """
    from ee import oauth

    key = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    try:
        if kind == "anonymous":
            from google.auth.credentials import AnonymousCredentials

            return AnonymousCredentials(), None
        if kind == "service-account":
            from google.oauth2.service_account import Credentials as ServiceAccount

            if not key:
                raise ConfigError(
                    f"no service account: GOOGLE_APPLICATION_CREDENTIALS names no key file; {_HOW}"
                )
            account = ServiceAccount.from_service_account_file(key, scopes=oauth.SCOPES)
            return account, account.project_id
        if Path(oauth.get_credentials_path()).exists():
            from google.oauth2.credentials import Credentials

            stored = oauth.get_credentials_arguments()
            if stored.get("refresh_token"):
                project = stored.pop("quota_project_id", None)
                return Credentials(None, **stored), project
        from google.auth._cloud_sdk import get_application_default_credentials_path

        default = key or get_application_default_credentials_path()
        if Path(default).exists():
            import google.auth

            loaded, project = google.auth.load_credentials_from_file(default, scopes=oauth.SCOPES)
            return loaded, getattr(loaded, "quota_project_id", None) or project
    except ConfigError:
        raise
    except Exception as error:  # a file of someone else's making: JSON, keys and libraries fail in many ways
        raise ConfigError(f"the credentials of Earth Engine cannot be read ({error}); {_HOW}") from None
    raise ConfigError(f"no credentials for Earth Engine on this machine; {_HOW}")


def _denied(endpoint: str, project: str, message: str) -> ConfigError:
    return ConfigError(
        f"{endpoint}: access is denied for project {project!r} ({message}); check --project and that it is registered "
        "for Earth Engine, and renew the credentials with `earthengine authenticate`"
    )


def _expired(endpoint: str, error: Exception) -> ConfigError:
    from google.auth.exceptions import InvalidOperation

    if isinstance(error, InvalidOperation):
        return ConfigError(f"{endpoint}: asks for credentials, and anonymous has none; {_HOW}")
    return ConfigError(f"the credentials of Earth Engine are no longer valid ({error}); {_HOW}")
