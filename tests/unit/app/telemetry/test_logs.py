"""Lines that are logged, and values that never are. Each case has its own process, as logging is set per process."""

import json
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.telemetry.logs import Context, JsonFormatter, TextFormatter, context
from tests.support import ROOT

SECRET = "a private transcript"


def written(code: str, log_format: str = "json", log_level: str = "info", stderr: Any = subprocess.PIPE) -> str:
    """The stderr of a process that configures logging and then runs `code`."""
    start = f"import logging, sys\nfrom app.telemetry.logs import configure\nconfigure({log_format!r}, {log_level!r})\n"
    ran = subprocess.run(
        [sys.executable, "-c", start + code], cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=60
    )
    assert (ran.returncode, ran.stdout) == (0, "done\n"), ran.stderr
    return ran.stderr or ""


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def record(name: str = "app.access", message: str = "POST /predict 200", **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.INFO, __file__, 1, message, (), None)
    vars(made).update(fields)
    return made


def test_a_line_of_json_has_the_time_in_utc_the_request_and_our_fields() -> None:
    token = context.set(Context("r1", "a" * 32, "b" * 16))
    try:
        line = json.loads(JsonFormatter().format(record(status=200, seconds=0.25, key=None)))
    finally:
        context.reset(token)
    when = datetime.fromisoformat(line.pop("time"))
    assert when.tzinfo == UTC and abs((datetime.now(UTC) - when).total_seconds()) < 60
    assert line == {
        "level": "info",
        "logger": "app.access",
        "message": "POST /predict 200",
        "request_id": "r1",
        "trace_id": "a" * 32,
        "span_id": "b" * 16,
        "status": 200,
        "seconds": 0.25,
    }


def test_outside_of_a_request_a_line_has_no_ids() -> None:
    assert not {"request_id", "trace_id", "span_id"} & set(json.loads(JsonFormatter().format(record())))


def test_a_line_of_text_has_the_same() -> None:
    token = context.set(Context("r1"))
    try:
        line = TextFormatter().format(record(status=200, problem=None))
    finally:
        context.reset(token)
    assert line.endswith("app.access [r1] POST /predict 200 status=200")


def test_fields_that_other_libraries_add_to_a_record_are_left_out() -> None:
    assert SECRET not in JsonFormatter().format(record("uvicorn.error", "Started", color_message=SECRET))


def test_json_is_ascii_and_a_line_each() -> None:
    line = JsonFormatter().format(record(message="둘\n줄 \ud800", odd=object()))
    assert line.isascii() and "\n" not in line and json.loads(line)["message"] == "둘\n줄 \ud800"


FAILURES = f"""
import asyncio, gc, threading, warnings
def fail(text):
    raise ValueError("{SECRET}")
try:
    fail("{SECRET}")
except ValueError:
    for name in ("uvicorn.error", "asyncio", "app.web.api", "elsewhere"):
        logging.getLogger(name).exception("It failed.")
async def never_awaited():
    asyncio.get_running_loop().call_soon(fail, "{SECRET}")
    task = asyncio.ensure_future(asyncio.sleep(0, "{SECRET}"))
    task.add_done_callback(lambda task: fail(task.result()))
    failing = asyncio.ensure_future(asyncio.to_thread(fail, "{SECRET}"))
    await asyncio.wait([failing, task])
    await asyncio.sleep(0)
asyncio.run(never_awaited())
gc.collect()
thread = threading.Thread(target=fail, args=("{SECRET}",))
thread.start()
thread.join()
class Ends:
    def __del__(self):
        fail("{SECRET}")
Ends()
warnings.warn("{SECRET}")
logging.getLogger("multipart").info("{SECRET}")
logging.getLogger("botocore").debug("{SECRET}")
print("done")
"""


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_failure_is_written_with_its_values(log_format: str) -> None:
    text = written(FAILURES, log_format, "debug")
    # From Python 3.13 on, a traceback quotes the lines of `python -c`, which JSON escapes.
    unescaped = text.replace('\\"', '"')
    assert SECRET not in unescaped.replace(f'fail("{SECRET}")', "").replace(f'raise ValueError("{SECRET}")', "")
    assert "Traceback" not in text
    assert text.count("ValueError") >= 8 and "in fail" in text, "the place and the kind of error are logged"
    for sentence in (
        "Task exception was never retrieved",
        "Exception in callback fail",
        "A thread failed",
        "UserWarning",
    ):
        assert sentence in text
    if log_format == "json":
        assert all(line["level"] and line["message"] for line in lines(text))


def test_uvicorn_writes_through_the_same_handler_and_no_path() -> None:
    code = """
import asyncio, uvicorn
async def app(scope, receive, send):
    raise RuntimeError("no lifespan")
config = uvicorn.Config(app, log_config=None)
logging.getLogger("uvicorn.error").info("Started server process [%d]", 1)
logging.getLogger("uvicorn.error").warning("Unsupported upgrade request.")
logging.getLogger("uvicorn.access").info('%s - "%s %s"', "10.0.0.1", "GET", "/secret?token=1")
print("done")
"""
    logged = [(line["logger"], line["message"]) for line in lines(written(code))]
    assert logged == [("uvicorn.error", "Unsupported upgrade request.")]
    assert "Started server process [1]" in written(code, log_level="debug")


def test_a_line_has_the_ids_of_the_request_that_wrote_it() -> None:
    """They are read where the line is written, not in the thread that writes it out."""
    code = """
from app.telemetry.logs import Context, context
token = context.set(Context("r1"))
logging.getLogger("app.x").info("inside")
context.reset(token)
logging.getLogger("app.x").info("outside")
print("done")
"""
    assert [line.get("request_id") for line in lines(written(code))] == ["r1", None]


def test_the_package_may_be_installed_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "house").symlink_to(ROOT / "app")
    code = """
import importlib, logging, pkgutil, sys
import house
from house.telemetry.logs import configure
configure("json", "info")
for module in pkgutil.walk_packages(house.__path__, "house."):
    importlib.import_module(module.name)
logging.getLogger("house.access").info("GET /model 200", extra={"status": 200})
print([name for name in [*sys.modules, *logging.root.manager.loggerDict] if name.partition(".")[0] == "app"])
"""
    path = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", code], env=path, cwd=tmp_path, capture_output=True, text=True)
    assert ran.stdout == "[]\n", ran.stderr
    *_, line = lines(ran.stderr)
    assert (line["logger"], line["status"]) == ("house.access", 200)


def test_levels() -> None:
    code = """
for level in ("debug", "info", "warning", "error"):
    getattr(logging.getLogger("app.x"), level)(level)
    getattr(logging.getLogger("elsewhere"), level)(level)
print("done")
"""
    logged = {
        log_level: [(line["logger"], line["level"]) for line in lines(written(code, log_level=log_level))]
        for log_level in ("debug", "error")
    }
    assert [level for name, level in logged["debug"] if name == "app.x"] == ["debug", "info", "warning", "error"]
    assert [level for name, level in logged["debug"] if name == "elsewhere"] == ["warning", "error"]
    assert logged["error"] == [("app.x", "error"), ("elsewhere", "error")]


LOGS_AND_GOES_ON = (
    "logging.getLogger('app.x').error('lost')\nlogging.getLogger('app.x').error('%d', 'no number')\nprint('done')"
)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_a_full_disk_loses_lines_and_nothing_else() -> None:
    with Path("/dev/full").open("w") as full:
        written(LOGS_AND_GOES_ON, stderr=full)


def test_a_closed_pipe_loses_lines_and_nothing_else() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        written(LOGS_AND_GOES_ON, stderr=closed)


def test_a_stream_that_was_closed_loses_lines_and_nothing_else() -> None:
    assert written("sys.stderr.close()\n" + LOGS_AND_GOES_ON) == ""


def test_a_pipe_that_nobody_reads_holds_nobody_up() -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as unread:
        written("for _ in range(20_000): logging.getLogger('app.x').error('x' * 100)\nprint('done')", stderr=unread)
    os.close(read)
