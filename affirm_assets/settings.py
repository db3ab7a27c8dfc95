"""What the environment may set. Read in one place, so that a wrong value is an error before anything starts."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from affirm_assets.declare.dataset import ENGINES
from affirm_assets.declare.partitions import iso_date
from affirm_assets.errors import LakeFileError, SettingError, SettingsMissing

DEPLOYMENTS = ("local", "kubernetes")

_NO_PLAIN_LOCATION = re.compile(r"[#?%\x00-\x1f\x7f]")
"""Tables name their files by location, file://<path>: PyIceberg and SQLAlchemy read these characters as parts of a URI,
Hadoop reads them as they are, and so no way to write them is understood by all."""

_CATALOG = re.compile(
    # As SQLAlchemy and, from `//` on, JDBC understand it; user and database are plain names, so that no part of a
    # password can pass for one.
    r"postgresql\+psycopg2://[\w.-]+@[\w.-]+(:\d+)?/[\w-]+(\?sslmode=[a-z-]+(&sslrootcert=[\w./-]+)?)?"
    r"|https?://[\w.-]+(:\d+)?(/[\w./-]*)?"
    r"|glue:",
    re.ASCII,
)
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w.=+-]+)*/?", re.ASCII)
_ENDPOINT = re.compile(r"https?://[\w.-]+(:\d+)?/?", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]+")
_SPOT = re.compile(r"([a-z0-9.-]+/)?[\w.-]+=[\w.-]+", re.ASCII)
_WEBHOOK = re.compile(r"https?://[\w.-]+(:\d+)?/[!-~]*", re.ASCII)
_SMTP = re.compile(r"(?P<scheme>smtp|smtp\+starttls)://(?P<host>[\w.-]+)(:(?P<port>\d{1,5}))?", re.ASCII)
_ADDRESS = re.compile(r"[\w.+-]+@[\w.-]+", re.ASCII)
_UI = re.compile(r"https?://[\w.-]+(:\d+)?(/[\w./-]*)?", re.ASCII)


FIRST_BUSINESS_DATE_FILE = "first_business_date"
"""In a local lake: the day on which its partitions begin. What opens the lake agrees on it, from whatever shell."""

_DEFAULT_FIRST_BUSINESS_DATE = date(2025, 1, 1)

SAIL, SPARK = ENGINES

MOST_SAIL_MIB = 64
"""Compressed MiB to read up to which a step is computed by sail, unless AFFIRM_SAIL_MIB says otherwise.

Measured (python -m bench limit; two cores, 23 GiB): a step that passes rows on takes 4 s and 1.1 GiB for 58 MiB (ten
million rows), and grows with its rows. One that groups by a key that is different in each row takes 37 s and 6 GiB for
58 MiB, and 129 s and 13 GiB for twice as much: from there on it is for Spark.
"""

_MEMORY_FOR_SAIL = 128
"""Bytes of memory for each byte that a step reads. That grouping, the dearest step measured, took 105 to 115."""


_SWITCH = {"on": True, "off": False}


@dataclass(frozen=True)
class EngineSettings:
    """`engine`: the one for every step, whatever it reads; None: by what it reads, sail up to `sail_mib`.

    `sail_mib`: in MiB; None: what the memory of the step's process is enough for, at most MOST_SAIL_MIB.
    `native`: whether Spark computes with native operators; None: on Kubernetes as a step's profile says, else not.
    """

    engine: str | None = None
    sail_mib: int | None = None
    native: bool | None = None

    @staticmethod
    def of(environ: Mapping[str, str]) -> "EngineSettings":
        """Raises SettingError."""
        engine = environ.get("AFFIRM_ENGINE") or None
        if engine not in (None, *ENGINES):
            raise SettingError("AFFIRM_ENGINE", repr(engine), f"one of {', '.join(ENGINES)}, or nothing")
        mib = environ.get("AFFIRM_SAIL_MIB") or None
        if mib is not None and not re.fullmatch(r"[0-9]{1,9}", mib):
            raise SettingError("AFFIRM_SAIL_MIB", repr(mib), "a whole number of MiB")
        native = environ.get("AFFIRM_SPARK_NATIVE") or None
        if native not in (None, *_SWITCH):
            raise SettingError("AFFIRM_SPARK_NATIVE", repr(native), f"one of {', '.join(_SWITCH)}, or nothing")
        return EngineSettings(engine, None if mib is None else int(mib), _SWITCH[native] if native else None)

    def most_for_sail(self, memory: int) -> int:
        """MiB that a step on sail may read, in a process that may use so many bytes of memory."""
        if self.sail_mib is not None:
            return self.sail_mib
        return min(MOST_SAIL_MIB, memory // _MEMORY_FOR_SAIL >> 20)

    def most_in_share(self, memory: int) -> int:
        """The same in a process whose container computes other steps too: never more than its memory is enough for."""
        return min(self.most_for_sail(memory), memory // _MEMORY_FOR_SAIL >> 20)


BY_SIZE = EngineSettings()


@dataclass(frozen=True)
class MailSettings:
    """Alerts by e-mail. `user` and `password`: both or neither, and sent after STARTTLS only."""

    host: str
    port: int
    sender: str
    to: tuple[str, ...]
    starttls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @staticmethod
    def of(environ: Mapping[str, str]) -> "MailSettings | None":
        """None if AFFIRM_ALERT_SMTP is not set. Raises SettingError."""
        if not environ.get("AFFIRM_ALERT_SMTP"):
            return None
        expected = "smtp://<host>:<port> or smtp+starttls://<host>:<port>, without a user or password"
        server = _SMTP.fullmatch(_matching(_SMTP, environ, "AFFIRM_ALERT_SMTP", expected))
        assert server is not None
        starttls = server["scheme"] != "smtp"
        user, password = environ.get("AFFIRM_ALERT_SMTP_USER"), environ.get("AFFIRM_ALERT_SMTP_PASSWORD")
        if bool(user) != bool(password) or (user and not starttls):
            raise SettingError(
                "AFFIRM_ALERT_SMTP_USER",
                f"{'a' if user else 'no'} user, {'a' if password else 'no'} password, {server['scheme']}://",
                "it and AFFIRM_ALERT_SMTP_PASSWORD, both with smtp+starttls:// or neither",
            )
        return MailSettings(
            host=server["host"],
            port=int(server["port"] or (587 if starttls else 25)),
            sender=_addresses(environ, "AFFIRM_ALERT_FROM", most=1)[0],
            to=_addresses(environ, "AFFIRM_ALERT_TO"),
            starttls=starttls,
            user=user or None,
            password=password or None,
        )


def _addresses(environ: Mapping[str, str], name: str, most: int | None = None) -> tuple[str, ...]:
    text = environ.get(name) or ""
    found = tuple(each.strip() for each in text.split(","))
    if not all(_ADDRESS.fullmatch(each) for each in found) or (most and len(found) > most):
        one = "one address" if most == 1 else "addresses, with commas between them"
        raise SettingError(name, repr(text), f"{one}, since AFFIRM_ALERT_SMTP is set")
    return found


@dataclass(frozen=True)
class AlertSettings:
    """Whom alerts go to. `webhook`: a URL that takes Slack's format; a secret, since who knows it may post there."""

    webhook: str | None = field(default=None, repr=False)
    mail: MailSettings | None = None

    @staticmethod
    def of(environ: Mapping[str, str]) -> "AlertSettings":
        """Raises SettingError."""
        webhook = None
        if environ.get("AFFIRM_ALERT_WEBHOOK"):
            webhook = _matching(_WEBHOOK, environ, "AFFIRM_ALERT_WEBHOOK", "https://<host>/<path>")
        return AlertSettings(webhook, MailSettings.of(environ))


NO_ALERTS = AlertSettings()

RESTATEMENT = "AFFIRM_RESTATEMENT"

LOCAL_UI = "http://127.0.0.1:3000"


@dataclass(frozen=True)
class Settings:
    """Where a deployment keeps its tables and finds its files. Shows no secret: only `alerts` holds some.

    `catalog_uri`: sqlite:///<file>, postgresql+psycopg2://<user>@<host>/<database>, https://<REST catalog> or glue: .
    `warehouse`: file://<folder> or s3://<bucket>/<prefix>. `landing`: an absolute folder, or s3:// likewise.
    `s3_endpoint`: of another S3 than AWS. `first_business_date`: the first day that has a partition;
    `first_is_default`: nobody has said it. `lake`: the folder that holds all of a local deployment.
    `cpu_request_scale`: how much of their cores pods ask for; 1 but on small nodes. `engines`: which one computes a
    step. `spot`: <key>=<value>, taint and label of nodes that may vanish, for executors; None: there are none.
    `restatement`: the one that runs of a command carry, which have no tags; a local deployment's only.
    `alerts`: whom they go to. `ui_url`: Dagster's UI, as those see it, for links.
    """

    deployment: str
    first_business_date: date
    catalog_uri: str
    warehouse: str
    landing: str
    region: str | None = None
    s3_endpoint: str | None = None
    lake: Path | None = None
    cpu_request_scale: float = 1.0
    spot: str | None = None
    engines: EngineSettings = BY_SIZE
    restatement: str = ""
    first_is_default: bool = field(default=False, compare=False)
    alerts: AlertSettings = NO_ALERTS
    ui_url: str = LOCAL_UI

    @staticmethod
    def of(environ: Mapping[str, str]) -> "Settings":
        """From the environment. A variable set to nothing counts as not set.

        Raises:
            SettingError: A value that cannot be; it is not shown where it may hold a password.
            SettingsMissing: Names every variable that the deployment needs and the environment lacks.
            LakeFileError: What a local lake says of its first business date is no date.
        """
        deployment = environ.get("AFFIRM_DEPLOYMENT") or "local"
        if deployment not in DEPLOYMENTS:
            raise SettingError("AFFIRM_DEPLOYMENT", repr(deployment), f"one of {', '.join(DEPLOYMENTS)}")
        if deployment == "kubernetes":
            return _on_kubernetes(environ)
        lake = Path(environ.get("AFFIRM_LAKE") or ".lake").expanduser().absolute()
        said = environ.get("AFFIRM_FIRST_BUSINESS_DATE")
        first = _first_business_date(said) if said else _kept_first_business_date(lake)
        local = Settings.local(lake, first or _DEFAULT_FIRST_BUSINESS_DATE, EngineSettings.of(environ))
        return replace(
            local,
            restatement=environ.get(RESTATEMENT) or "",
            first_is_default=first is None,
            alerts=AlertSettings.of(environ),
            ui_url=_ui_url(environ),
        )

    @staticmethod
    def local(lake: Path, first_business_date: date, engines: EngineSettings = BY_SIZE) -> "Settings":
        """All of it in one folder; `lake` is its absolute path."""
        if _NO_PLAIN_LOCATION.search(str(lake)):
            expected = "a folder whose whole path has no #, ?, % or control character"
            raise SettingError("AFFIRM_LAKE", repr(str(lake)), expected)
        return Settings(
            deployment="local",
            first_business_date=first_business_date,
            catalog_uri=f"sqlite:///{lake}/catalog.db",
            warehouse=f"file://{lake}/warehouse",
            landing=f"{lake}/landing",
            lake=lake,
            engines=engines,
        )


def _on_kubernetes(environ: Mapping[str, str]) -> Settings:
    _check_nothing_is_missing(environ)
    catalog = _matching(
        _CATALOG,
        environ,
        "AFFIRM_CATALOG_URI",
        "postgresql+psycopg2://<user>@<host>:<port>/<database> without a password (PGPASSWORD holds it), "
        "https://<a REST catalog> or glue:",
    )
    bucket = "s3://<bucket>/<prefix>"
    endpoint = "http://<host>:<port> or https://<host>, without a key (AWS_ACCESS_KEY_ID holds it)"
    spot = environ.get("AFFIRM_SPOT")
    return Settings(
        deployment="kubernetes",
        first_business_date=_first_business_date(environ["AFFIRM_FIRST_BUSINESS_DATE"]),
        catalog_uri=catalog,
        warehouse=_matching(_BUCKET, environ, "AFFIRM_WAREHOUSE", bucket).rstrip("/"),
        landing=_matching(_BUCKET, environ, "AFFIRM_LANDING", bucket).rstrip("/"),
        region=_matching(_REGION, environ, "AWS_REGION", "a region such as us-east-1"),
        s3_endpoint=_matching(_ENDPOINT, environ, "AFFIRM_S3_ENDPOINT", endpoint)
        if environ.get("AFFIRM_S3_ENDPOINT")
        else None,
        cpu_request_scale=_cpu_request_scale(environ.get("AFFIRM_CPU_REQUEST_SCALE") or "1"),
        spot=_matching(_SPOT, environ, "AFFIRM_SPOT", "<key>=<value> of a taint and label") if spot else None,
        engines=EngineSettings.of(environ),
        alerts=AlertSettings.of(environ),
        ui_url=_ui_url(environ),
    )


def _check_nothing_is_missing(environ: Mapping[str, str]) -> None:
    needed = {
        "AFFIRM_CATALOG_URI": "the catalog of tables",
        "AFFIRM_WAREHOUSE": "where the tables are",
        "AFFIRM_LANDING": "where files arrive",
        "AFFIRM_FIRST_BUSINESS_DATE": "the first day that has a partition",
        "AWS_REGION": "of the buckets",
    }
    if environ.get("AFFIRM_CATALOG_URI", "").startswith("postgresql"):
        needed["PGPASSWORD"] = "the catalog's password, from a secret"
    # Both or neither: without keys, the AWS libraries look for a role of the pod.
    keys = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    if any(environ.get(key) for key in keys):
        needed.update(dict.fromkeys(sorted(keys), "from a secret, both or neither"))
    missing = {name: what for name, what in needed.items() if not environ.get(name)}
    if missing:
        raise SettingsMissing("kubernetes", missing)


def _matching(pattern: re.Pattern[str], environ: Mapping[str, str], name: str, expected: str) -> str:
    value = environ[name]
    if not pattern.fullmatch(value):
        # Not shown: what does not look as it should may be a URI with a password in it.
        raise SettingError(name, f"another text of {len(value)} characters (not shown)", expected)
    return value


def _ui_url(environ: Mapping[str, str]) -> str:
    if not environ.get("AFFIRM_UI_URL"):
        return LOCAL_UI
    expected = "http://<host>:<port> or https://<host>/<path>, without a user or password"
    return _matching(_UI, environ, "AFFIRM_UI_URL", expected).rstrip("/")


def _cpu_request_scale(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) <= 1:
            return float(text)
    raise SettingError("AFFIRM_CPU_REQUEST_SCALE", repr(text), "a number above 0, at most 1")


def _first_business_date(text: str) -> date:
    try:
        return iso_date(text)
    except ValueError:
        raise SettingError("AFFIRM_FIRST_BUSINESS_DATE", repr(text), "a date YYYY-MM-DD") from None


def _kept_first_business_date(lake: Path) -> date | None:
    file = lake / FIRST_BUSINESS_DATE_FILE
    try:
        text = file.read_text().strip()
    except FileNotFoundError:
        return None
    try:
        return iso_date(text)
    except ValueError:
        remedy = "Write the day on which the partitions of this lake begin, or say it as AFFIRM_FIRST_BUSINESS_DATE."
        raise LakeFileError(str(file), "a date YYYY-MM-DD", repr(text), remedy) from None
