"""A real PostgreSQL, S3 server (versitygw) and REST catalog for tests, on this machine, gone after them."""

import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pyspark

from resources.spark import java_problem

LOCALHOST = "127.0.0.1"
REGION = "us-east-1"
USER = "affirm"
# Searched for in logs, events and settings, so nothing else may look like them; the colon and the backslash are what
# PostgreSQL's password file escapes.
PASSWORD = r"pg-pass:word\of-tests"
ACCESS_KEY = "AKIAACCESSKEYOFTESTS"
SECRET_KEY = "secret-key-of-the-tests"
SECRETS = {"PGPASSWORD": PASSWORD, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}

_VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
_SECONDS_TO_START = 30


def postgres_missing() -> str | None:
    """Why there can be no PostgreSQL here, or None."""
    return None if _postgres_folder() else "no PostgreSQL server is installed (Debian: apt-get install postgresql)"


def s3_missing() -> str | None:
    """Why there can be no S3 server here, or None."""
    return None if _versitygw() else f"no S3 server is installed (go install {_VERSITYGW})"


def rest_catalog_missing() -> str | None:
    """Why there can be no REST catalog here, or None."""
    if problem := java_problem():
        return problem
    try:
        _rest_catalog_jars()
    except subprocess.CalledProcessError as error:
        return f"the jars of the REST catalog cannot be fetched: {' '.join(error.stdout.split())[-500:]}"
    return None


@dataclass(frozen=True)
class RestCatalogServer:
    uri: str


@dataclass(frozen=True)
class Postgres:
    host: str
    port: int

    def catalog_uri(self, database: str) -> str:
        return f"postgresql+psycopg2://{USER}@{self.host}:{self.port}/{database}"

    def create_database(self, name: str) -> None:
        connection = self.connect("postgres")
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f'CREATE DATABASE "{name}"')
        connection.close()

    def connect(self, database: str) -> Any:
        import psycopg2

        return psycopg2.connect(host=self.host, port=self.port, user=USER, password=PASSWORD, dbname=database)


@dataclass(frozen=True)
class S3Server:
    endpoint: str

    def client(self) -> Any:
        import boto3

        return boto3.session.Session().client(  # of a session of its own: threads may ask for theirs at a time
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def create_bucket(self, name: str) -> None:
        self.client().create_bucket(Bucket=name)


@contextmanager
def throttling(server: S3Server, times: int) -> Iterator[tuple[S3Server, list[str]]]:
    """The server behind one that answers so many requests as S3 does when there are too many; and what was asked."""
    asked: list[str] = []

    class Between(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            if len(asked) <= times:
                error = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
                self._answer(503, [("Content-Type", "application/xml")], error)
                return
            # With the headers as they are: the signature is over the name of the host, too.
            behind = HTTPConnection(server.endpoint.removeprefix("http://"))
            behind.request("GET", self.path, headers=dict(self.headers))
            response = behind.getresponse()
            self._answer(response.status, response.getheaders(), response.read())
            behind.close()

        def _answer(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    between = ThreadingHTTPServer((LOCALHOST, 0), Between)
    thread = threading.Thread(target=between.serve_forever)
    thread.start()
    try:
        yield S3Server(f"http://{LOCALHOST}:{between.server_port}"), asked
    finally:
        between.shutdown()
        thread.join()
        between.server_close()


@contextmanager
def postgres(address: str = LOCALHOST, databases: Sequence[str] = ()) -> Iterator[Postgres]:
    """A PostgreSQL with one user, `USER`, that owns everything; fsync is off."""
    binaries = _postgres_folder()
    assert binaries, postgres_missing()
    owner = _unprivileged()
    with _folder(owner) as folder:
        password = folder / "password"
        password.write_text(PASSWORD)
        _own(password, owner)
        data = folder / "data"
        options = ["--pwfile", str(password), "-N", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run(
            [f"{binaries}/initdb", "-D", str(data), "-U", USER, "-A", "scram-sha-256", *options],
            check=True,
            stdout=subprocess.DEVNULL,
            **owner,
        )
        with (data / "pg_hba.conf").open("a") as access:
            access.write("host all all 0.0.0.0/0 scram-sha-256\n")
        server = Postgres(address, _free_port(address))
        settings = {
            "listen_addresses": address,
            "port": server.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 200,
        }
        command = [f"{binaries}/postgres", "-D", str(data)]
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        # SIGINT is its fast shutdown, which does not wait for clients to leave.
        with _running(command, folder / "log", stop=signal.SIGINT, **owner) as process:
            _wait(process, folder / "log", lambda: server.connect("postgres").close())
            for name in databases:
                server.create_database(name)
            yield server


@contextmanager
def s3_server(address: str = LOCALHOST, buckets: Sequence[str] = ()) -> Iterator[S3Server]:
    """An S3 server whose buckets are folders of a temporary folder."""
    binary = _versitygw()
    assert binary, s3_missing()
    with _folder({}) as folder:
        store = folder / "buckets"
        store.mkdir()
        port = _free_port(address)
        server = S3Server(f"http://{address}:{port}")
        command = [binary, "--port", f"{address}:{port}", "--region", REGION, "--quiet", "posix", str(store)]
        environment = {**os.environ, "ROOT_ACCESS_KEY_ID": ACCESS_KEY, "ROOT_SECRET_ACCESS_KEY": SECRET_KEY}
        with _running(command, folder / "log", stop=signal.SIGTERM, env=environment) as process:
            _wait(process, folder / "log", lambda: socket.create_connection((address, port), 1).close())
            for name in buckets:
                server.create_bucket(name)
            yield server


@contextmanager
def rest_catalog(folder: Path) -> Iterator[RestCatalogServer]:
    """Apache Iceberg's reference server: its tables lie in `folder`/warehouse, listed in a SQLite file beside it.

    Its commit to several tables is not atomic: it checks all, and then commits to one after another. A commit of
    another that comes between the two makes it lose its own to that table, and it says that all went well.
    """
    port = _free_port(LOCALHOST)
    server = RestCatalogServer(f"http://{LOCALHOST}:{port}")
    # As in the other tests that start Java: it runs for a minute.
    java = ["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    command = [_java(), *java, "-cp", _rest_catalog_jars(), "org.apache.iceberg.rest.RESTCatalogServer"]
    settings = {
        "CATALOG_WAREHOUSE": f"file://{folder}/warehouse",
        "CATALOG_URI": f"jdbc:sqlite:{folder}/rest.db?busy_timeout=10000",
        "CATALOG_REST_PORT": str(port),
    }
    log = folder / "rest.log"
    with _running(command, log, stop=signal.SIGTERM, env={**os.environ, **settings}) as process:
        _wait(process, log, lambda: urlopen(f"{server.uri}/v1/config", timeout=5).close())
        yield server


@cache
def _rest_catalog_jars() -> str:
    """A class path. Fetched once for a machine, as Spark's own jars are, and found in Ivy's cache from then on."""
    pyspark_jars = Path(pyspark.__file__).parent / "jars"
    (ivy,) = pyspark_jars.glob("ivy-*.jar")
    described = Path(__file__).with_name("rest_catalog_server.xml")
    with _folder({}) as folder, (Path(tempfile.gettempdir()) / "rest-catalog-jars.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Ivy's cache is not for two at once
        command = [_java(), "-jar", str(ivy), "-ivy", str(described), "-cachepath", str(folder / "jars"), "-warn"]
        subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder)
        fetched = (folder / "jars").read_text().strip()
    hadoop = map(str, sorted(pyspark_jars.glob("hadoop-client-*.jar")))
    return os.pathsep.join([fetched, *hadoop, *map(str, pyspark_jars.glob("commons-logging-*.jar"))])


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    return str(Path(home, "bin", "java")) if home else "java"


def _postgres_folder() -> str | None:
    """Where initdb is: Debian keeps it out of the PATH, in a folder for each version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    initdb = str(found[-1]) if found else shutil.which("initdb")
    return str(Path(initdb).parent) if initdb else None


def _versitygw() -> str | None:
    go = os.environ.get("GOPATH") or str(Path.home() / "go")
    return shutil.which("versitygw", path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{go}/bin")


def _unprivileged() -> dict[str, Any]:
    """Arguments for `subprocess`: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise LookupError("root cannot run PostgreSQL, and there is no user postgres or nobody")


@contextmanager
def _folder(owner: dict[str, Any]) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="server-"))
    try:
        _own(folder, owner)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _own(path: Path, owner: dict[str, Any]) -> None:
    if owner:
        os.chown(path, owner["user"], owner["group"])


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _running(command: Sequence[str], log: Path, stop: signal.Signals, **options: Any) -> Iterator[subprocess.Popen]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd="/", **options)
    try:
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", log: Path, answers: Any) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while True:
        try:
            answers()
            return
        except Exception as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{process.args[0]} did not start: {log.read_text()[-2000:]}") from error
        time.sleep(0.1)
