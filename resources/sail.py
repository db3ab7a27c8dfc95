"""Sail: Spark's protocol on an engine of its own (Rust, DataFusion), as a server inside this process. No JVM.

One server for the process, which starts with the first session and ends with the process. A step takes a session of
its own: settings and frames of one step are not seen by another.

PySpark's functions make columns for classic Spark or for this protocol, and decide by an environment variable. So
whoever builds frames of a session does it inside `SailSession.active()`, and what other threads collect meanwhile ends
before it does; both kinds of Spark can take turns in one process, but not at the same time in two threads.
"""

import atexit
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from resources.memory import usable_memory
from resources.utc import keep_utc

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.connect.proto import Plan

_log = logging.getLogger(__name__)

INSTALL = 'Install it: pip install "pysail==0.7.2" "pyspark[connect]==4.1.4".'

Check = Callable[["Plan"], "Plan"]
"""Sees each plan before the server does: raises, or returns the plan to send (the same or a rewritten one)."""

SAIL_DEFAULTS: Mapping[str, str] = MappingProxyType(
    {"spark.sql.ansi.enabled": "true", "spark.sql.session.timeZone": "UTC"}
)
"""What Sail 0.7 obeys of the settings that decide how rows come out."""

_NOT_SAID = frozenset({"spark.sql.parser.escapedStringLiterals"})
"""What Sail always does as Spark does at `false`, and warns of whatever value it is told."""

_TASKS = "spark.sql.shuffle.partitions"
"""Datasets ask it for how many tasks to make. Python's functions run in this process, one at a time: more tasks than
cores cost more than they bring."""

_QUICK: Mapping[str, str] = MappingProxyType({"spark.python.sql.dataFrameDebugging.enabled": "false"})
"""Each call of a function would look for the line that called it (0.3 ms), for errors of Spark's that Sail has not."""

_CONNECT_MODE = "SPARK_CONNECT_MODE_ENABLED"

_LOCALHOST = "127.0.0.1"
_SHARE_OF_MEMORY = 0.6
_MONTH_IN_SECONDS = 30 * 24 * 3600


class SailMissing(Exception):
    """The engine is not installed."""


class SailAnswerLost(Exception):
    """An answer of the server that arrived only in part, or cannot be read. What was asked may have been done."""


class SailForked(Exception):
    """A process that was forked from one in which the server runs: it has none of the threads that would answer."""


@dataclass(frozen=True)
class SailSession:
    """A session of one step. `spark` is PySpark's own client."""

    spark: "SparkSession"

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inside, `pyspark.sql.functions` make this session's columns and SparkSession.active() is this session."""
        from pyspark.sql.connect.session import SparkSession

        mode, local = os.environ.get(_CONNECT_MODE), SparkSession._active_session
        before = getattr(local, "session", None)
        os.environ[_CONNECT_MODE] = "1"
        # PySpark has no public way to replace the active session of a thread: it keeps the first.
        local.session = cast(Any, self.spark)
        try:
            yield
        finally:
            local.session = before
            if mode is None:
                os.environ.pop(_CONNECT_MODE, None)
            else:
                os.environ[_CONNECT_MODE] = mode

    def close(self) -> None:
        """Forget the session, here and in the server."""
        self.spark.stop()


@dataclass(frozen=True)
class SailSessions:
    """Sessions on the process's one server. `s3_endpoint` (of another S3 than AWS) and `region` are of the tables.

    `settings` are said in each session. A version that begins to obey one of them begins with this value.

    Keys and roles for S3 are found in the environment, by the names that AWS's own libraries use.
    """

    s3_endpoint: str | None = None
    region: str | None = None
    settings: Mapping[str, str] = field(default_factory=lambda: SAIL_DEFAULTS)

    def open(self, check: Check | None = None) -> SailSession:
        """A new session. `check` sees every plan of it before anything is executed.

        Raises SailMissing, SailForked.
        """
        if problem := sail_problem():
            raise SailMissing(problem)
        self._share_store()
        host, port = _server_address()
        session = _session(f"sc://{host}:{port}", check)
        said = {name: value for name, value in self.settings.items() if name not in _NOT_SAID}
        session.conf._set_all(configs={**said, **_QUICK, _TASKS: str(os.cpu_count() or 1)}, silent=False)
        return SailSession(session)

    def _share_store(self) -> None:
        """A session's first read from S3 takes the store's address from the environment, and keeps it."""
        if self.region:
            os.environ.setdefault("AWS_REGION", self.region)
        if self.s3_endpoint:
            os.environ["AWS_ENDPOINT"] = self.s3_endpoint
            os.environ["AWS_ALLOW_HTTP"] = str(self.s3_endpoint.startswith("http://")).lower()


def sail_problem() -> str | None:
    """One line that says what is missing and how to install it; None if Sail can be used."""
    try:
        import pysail.spark  # noqa: F401
    except ImportError as error:
        return f"the engine sail is not installed ({error}). {INSTALL}"
    try:
        import pyspark.sql.connect.session  # noqa: F401
    except ImportError as error:
        return f"the engine sail needs PySpark's client for it ({str(error).strip()}). {INSTALL}"
    return None


@dataclass(frozen=True)
class _Running:
    """The server that a process started."""

    process: int
    server: Any


_running: _Running | None = None
_starting = threading.Lock()


def _server_address() -> tuple[str, int]:
    global _running
    with _starting:
        if _running is None:
            _running = _Running(os.getpid(), _start())
        if _running.process != os.getpid():
            raise SailForked(
                f"the engine sail: expected to run in the process that started it ({_running.process}), found one that "
                f"was forked from it ({os.getpid()}), where nothing would answer. Start the process anew (spawn)."
            )
        address: tuple[str, int] = _running.server.listening_address
        return address


def _start() -> Any:
    keep_utc()
    # The server writes a line for each start, session and end; what fails is raised here anyway.
    os.environ.setdefault("RUST_LOG", "off")
    ours = {
        "SAIL_MODE": "local",
        # A session that is not used for so long is forgotten, and would come back without its settings.
        "SAIL_SPARK__SESSION_TIMEOUT_SECS": str(_MONTH_IN_SECONDS),
        # Sorts and groupings over more than this go to temporary files.
        "SAIL_RUNTIME__MEMORY_POOL__TYPE": "greedy",
        "SAIL_RUNTIME__MEMORY_POOL__GREEDY__MAX_SIZE": str(int(usable_memory() * _SHARE_OF_MEMORY)),
    }
    # The server obeys any setting in the environment, and does not start with one that it does not know.
    if theirs := sorted(name for name in os.environ if name.startswith("SAIL_") and name not in ours):
        for name in theirs:
            del os.environ[name]
        _log.warning("%s: taken out of the environment, this project sets up Sail itself.", ", ".join(theirs))
    os.environ.update(ours)
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer(_LOCALHOST, 0)
    server.start(background=True)
    return server


def _read(ask: Callable[[], Any], changes_nothing: Callable[[], bool] = lambda: True) -> Any:
    """The answer to a question, which is asked once more if its answer was lost on the way."""
    try:
        return ask()
    except SailAnswerLost as error:
        if not changes_nothing():
            raise
        _log.warning("%s Asked once more.", error)
        return ask()


@dataclass(frozen=True)
class _WholeAnswers:
    """A gRPC channel whose answers are decoded in the thread that waits for them, and come whole or not at all.

    gRPC's Python client decodes answers in a thread of its own. Seldom that fails, for a reason that nobody knows; a
    stream of answers then ends as if there were no more, without an error (grpc/grpc#34670). So this channel has gRPC
    pass on the bytes.
    """

    channel: Any

    def unary_unary(self, method: str, response_deserializer: Callable[[bytes], Any], **options: Any) -> Any:
        call = self.channel.unary_unary(method, **options)
        return lambda *args, **named: _decoded(method, call(*args, **named), response_deserializer)

    def stream_unary(self, method: str, response_deserializer: Callable[[bytes], Any], **options: Any) -> Any:
        call = self.channel.stream_unary(method, **options)
        return lambda *args, **named: _decoded(method, call(*args, **named), response_deserializer)

    def unary_stream(self, method: str, response_deserializer: Callable[[bytes], Any], **options: Any) -> Any:
        call = self.channel.unary_stream(method, **options)

        def answers(*args: Any, **named: Any) -> Iterator[Any]:
            for answer in call(*args, **named):
                yield _decoded(method, answer, response_deserializer)

        return answers


def _decoded(method: str, answer: bytes, decode: Callable[[bytes], Any]) -> Any:
    """Raises SailAnswerLost."""
    from google.protobuf.message import DecodeError

    try:
        return decode(answer)
    except DecodeError:
        pass
    name = method.rsplit("/", 1)[-1]
    try:
        decoded = decode(answer)
    except DecodeError as error:
        raise SailAnswerLost(
            f"sail: expected an answer to {name} that can be decoded, found {len(answer):,} bytes: {error}. "
            "Run the step again."
        ) from None
    _log.warning("sail: an answer to %s (%d bytes) was decoded at the second try.", name, len(answer))
    return decoded


class _WholeExecution:
    """Executes a plan, and hands on the server's answers until it says that they are all."""

    def __init__(self, stub: Any) -> None:
        self._execute, self._release = stub.ExecutePlan, stub.ReleaseExecute

    def __call__(self, request: Any, **named: Any) -> Iterator[Any]:
        """Raises SailAnswerLost."""
        from grpc import RpcError
        from pyspark.sql.connect.proto import ExecutePlanRequest, ReattachOptions, ReleaseExecuteRequest

        # Only for an execution that can be attached to again the server says when it is complete.
        attach = ExecutePlanRequest.RequestOption(reattach_options=ReattachOptions(reattachable=True))
        request.request_options.append(attach)
        request.operation_id = request.operation_id or str(uuid4())
        is_complete = False
        try:
            for answer in self._execute(request, **named):
                is_complete = answer.HasField("result_complete")
                yield answer
        finally:
            # Or the server keeps the answers until the session ends. One that is gone, or a closed channel, keeps none.
            release = ReleaseExecuteRequest(
                session_id=request.session_id,
                user_context=request.user_context,
                operation_id=request.operation_id,
                release_all=ReleaseExecuteRequest.ReleaseAll(),
            )
            with suppress(RpcError, SailAnswerLost, ValueError):
                self._release(release, **named)
        if not is_complete:
            raise SailAnswerLost(
                f"sail: expected the answers to operation {request.operation_id} to end by saying that they are "
                "complete, found an end without it: rows may be missing. Run the step again."
            )


def _session(url: str, check: Check | None) -> Any:
    # Made here, since PySpark's client is not there where the engine is not installed.
    from pyspark.sql.connect.client import DefaultChannelBuilder, SparkConnectClient
    from pyspark.sql.connect.proto import SparkConnectServiceStub
    from pyspark.sql.connect.session import SparkSession

    class Client(SparkConnectClient):
        """Hands each plan to the check.

        A question is asked twice only where its answer was lost: a server in this process that is gone stays gone.
        """

        def __init__(self) -> None:
            self._answers: dict[bytes, Any] = {}
            hooks = [Hook()] if check else []
            # A proxy of the environment is not for an address of this process.
            channel = DefaultChannelBuilder(url, [("grpc.enable_http_proxy", 0)])
            super().__init__(channel, use_reattachable_execute=False, session_hooks=cast(Any, hooks))
            self.set_retry_policies([])
            self._stub = cast(Any, SparkConnectServiceStub)(_WholeAnswers(self._channel))
            self._stub.ExecutePlan = _WholeExecution(self._stub)
            # Or a check would see nothing of large plans.
            self._plan_compression_threshold, self._plan_compression_algorithm = -1, "NONE"
            # It would ask the server at the process's end, when that is gone, and keep this object until then.
            atexit.unregister(self._cleanup_ml_cache)

        def _analyze(self, method: str, **kwargs: Any) -> Any:
            # What a frame's columns are is read off the plan that will be executed.
            if check and "plan" in kwargs:
                kwargs["plan"] = check(kwargs["plan"])
            return _read(partial(super()._analyze, method, **kwargs))

        def config(self, operation: Any) -> Any:
            # PySpark asks for the same settings at each collect, and only this client changes them.
            ask, kind = partial(super().config, operation), operation.WhichOneof("op_type")
            if kind in ("set", "unset"):
                try:
                    return _read(ask)
                finally:
                    self._answers.clear()
            if kind != "get_with_default":
                return _read(ask)
            question = operation.SerializeToString(deterministic=True)
            found = self._answers.get(question)
            if found is None:
                found = self._answers[question] = _read(ask)
            return found

        def _execute_and_fetch(self, req: Any, *rest: Any, **named: Any) -> Any:
            execute = super()._execute_and_fetch

            def ask() -> Any:
                # The check puts another plan into a request: each is checked once.
                request = type(req)()
                request.CopyFrom(req)
                return execute(request, *rest, **named)

            def changes_nothing() -> bool:
                # A command writes, and so may a function of Python: a second time would be twice the rows.
                return not req.plan.HasField("command") and "python_ud" not in str(req.plan)

            return _read(ask, changes_nothing)

    class Hook(SparkSession.Hook):
        def on_execute_plan(self, request: Any) -> Any:
            assert check is not None
            checked = check(request.plan)
            if checked is not request.plan:
                request.plan.CopyFrom(checked)
            return request

    class Session(SparkSession):
        """PySpark's own makes its client itself."""

        def __init__(self) -> None:
            self._client = Client()
            self._session_id = self._client._session_id
            self.release_session_on_close = True

    return Session()
