"""`maeum serve`, `predict`, `models` and `key`: the commands of a user. Training has its own.

Each command imports what it needs, so that `maeum --version` and `--help` answer at once.
"""

import argparse
import errno
import gc
import io
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from . import __version__
from .errors import MaeumError

if TYPE_CHECKING:
    from .answer import Answer
    from .engine.load import Model
    from .settings import Settings
    from .store.manifest import Manifest

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 1 for a failure with a sentence on stderr, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may have characters that the terminal lacks
            stream.reconfigure(errors="backslashreplace")
    try:
        code = int(options.command(options))
        sys.stdout.flush()
        return code
    except MaeumError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `maeum predict ... | head`
        _silence_stdout()
        return 1
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _silence_stdout()
        return _fail(f"The output cannot be written: {error.strerror}.")


def _serve(options: argparse.Namespace) -> int:
    from .settings import Settings
    from .telemetry import logs
    from .web.api import create_app
    from .web.server import Server, listen, prepare_process

    settings = Settings.load(host=options.host, port=options.port, **_model_options(options))
    prepare_process(settings)
    failures: list[MaeumError] = []

    def on_loaded(outcome: "Model | MaeumError") -> None:
        if isinstance(outcome, MaeumError):
            failures.append(outcome)
            server.should_exit = True
        else:
            gc.freeze()  # all this stays: searching it for garbage would stop the event loop for 25 ms, again and again
            _say(_welcome(outcome, settings.host, listener.getsockname()[1]))

    app = create_app(settings, on_loaded=on_loaded)
    server = Server(app, settings)
    listener = listen(settings)
    logs.configure(settings.log_format, settings.log_level)
    _say(f"Loading {settings.model} ...")
    code = 0
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        code = 130
    if failures:
        code = _fail(str(failures[0]))
    if app.state.service.loading:  # from a store that does not answer, perhaps; the thread is left behind
        logging.shutdown()
        os._exit(code)  # Python's own end would break off the runtime in its midst, which aborts the process
    return code


def _predict(options: argparse.Namespace) -> int:
    if not options.files and options.transcript is None:
        return _fail("Give a FILE, a --transcript, or both.", code=2)
    if options.transcript is not None and not _is_text(options.transcript):
        encoding = sys.getfilesystemencoding().upper()
        return _fail(f"The --transcript is not {encoding}; set the terminal to UTF-8, or convert the text.")
    from tqdm import tqdm

    from .engine.load import load_model
    from .pipeline import predict
    from .settings import Settings

    settings = Settings.load(**_model_options(options))
    model = load_model(settings)
    failed = False
    progress = tqdm(options.files or [None], unit="file", disable=len(options.files) < 2, file=sys.stderr)
    for path in progress:
        try:
            with _opened(path) as audio:
                answer = predict(model, settings, audio, options.transcript, channel=options.channel)
        except (MaeumError, OSError) as error:
            code = error.code if isinstance(error, MaeumError) else "file_unreadable"
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            tqdm.write(f"maeum: {path or 'transcript'}: {code}: {reason}", file=sys.stderr)
            failed = True
        else:
            said = _as_json(path, answer) if options.json else _as_text(path, answer, model.manifest.scale)
            tqdm.write(said, file=sys.stdout)
    return int(failed)


def _models(options: argparse.Namespace) -> int:
    from .settings import Settings

    settings = Settings.load(model_store=options.model_store)
    rows = [("MODEL", "PRECISIONS", "SIZE", "LICENCE", "CREATED")]
    failed = False
    for read in _manifests(settings):
        try:
            manifest = read()
        except MaeumError as error:
            failed = bool(_fail(str(error)))
            continue
        size = f"{sum(stored.bytes for stored in manifest.files()) / 1e6:.1f} MB"
        model = f"{manifest.name}/{manifest.version}"
        rows.append((model, ", ".join(manifest.graphs), size, manifest.license, manifest.created))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return int(failed)


def _manifests(settings: "Settings") -> "list[Callable[[], Manifest]]":
    """A reader of the manifest for each version in the model store."""
    from .store.remote import RemoteStore, is_address
    from .store.versions import list_versions, load_manifest

    if not is_address(settings.model_store):
        return [partial(load_manifest, folder) for folder in list_versions(Path(settings.model_store))]
    store = RemoteStore(settings.model_store)
    return [partial(store.manifest, version) for version in store.versions()]


def _key(options: argparse.Namespace) -> int:
    from .web.keys import print_new_key

    print_new_key(options.name, options.admin)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="maeum", description="Emotion of Korean utterances, from audio and transcript."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    store = argparse.ArgumentParser(add_help=False)
    store.add_argument(
        "--model-store", metavar="STORE", help="folder of the models, or an address such as s3://bucket/models"
    )
    model = argparse.ArgumentParser(add_help=False, parents=[store])
    model.add_argument("--model", help="NAME (its newest version) or NAME/VERSION (default: starter)")
    model.add_argument("--precision", choices=["auto", "fp32", "fp16", "int8"], help="default: auto")
    model.add_argument("--provider", choices=["cpu", "cuda"], help="default: cpu")

    serve = commands.add_parser("serve", parents=[model], help="start the HTTP service")
    serve.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on, 0 for a free one (default: 8000)")
    serve.set_defaults(command=_serve)

    predict = commands.add_parser("predict", parents=[model], help="predict from audio files, without a server")
    predict.add_argument("files", nargs="*", type=Path, metavar="FILE", help="audio files, one utterance each")
    predict.add_argument("--transcript", metavar="T", help="transcript of every FILE, or of an utterance without audio")
    predict.add_argument(
        "--channel",
        type=_channel,
        metavar="C",
        help="channel of every FILE to judge, from 0, or mix (default: mix)",
    )
    predict.add_argument("--json", action="store_true", help="print one JSON object per line")
    predict.set_defaults(command=_predict)

    models = commands.add_parser("models", parents=[store], help="list the models in the model store")
    models.set_defaults(command=_models)

    key = commands.add_parser("key", help="create an API key and its line for the keys file")
    key.add_argument("name", metavar="NAME", help="the key's owner: letters, digits, dots, underscores, hyphens")
    key.add_argument("--admin", action="store_true", help="allow the key to use /admin")
    key.set_defaults(command=_key)
    return parser


def _model_options(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("model_store", "model", "precision", "provider")}


def _is_text(argument: str) -> bool:
    """Whether `argument` was in the encoding that Python decodes arguments with; it keeps other bytes as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in argument)


def _channel(text: str) -> int | None:
    if text == "mix":
        return None
    if not re.fullmatch("[0-9]{1,4}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither mix nor a number from 0")
    return int(text)


@contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO | None]:
    if path is None:
        yield None
        return
    with path.open("rb") as file:
        yield file


def _as_json(path: Path | None, answer: "Answer") -> str:
    from_file = None if path is None else str(path)
    return json.dumps({"file": from_file, **answer.model_dump()}, ensure_ascii=False)


def _as_text(path: Path | None, answer: "Answer", scale: tuple[float, float]) -> str:
    low, high = scale
    lines = [str(path) if path is not None else "transcript"]
    if answer.arousal is not None:
        lines.append(f"  arousal  {answer.arousal:.2f}  ({low:g} calm to {high:g} excited)")
    if answer.valence is not None:
        lines.append(f"  valence  {answer.valence:.2f}  ({low:g} negative to {high:g} positive)")
    if answer.emotion is not None:
        ordered = sorted(answer.emotion.probabilities.items(), key=lambda item: -item[1])
        lines.append("  emotion  " + ", ".join(f"{label} {probability:.0%}" for label, probability in ordered))
    lines += [f"  warning  {warned.detail}" for warned in answer.warnings]
    return "\n".join(lines)


def _welcome(model: "Model", host: str, port: int) -> str:
    """The address to open and a command to try, with an example file that exists."""
    manifest = model.manifest
    shown = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    address = f"http://{shown}:{port}"
    example = next(iter(sorted((Path(__file__).parents[1] / "examples").glob("*.wav"))), Path("clip.wav"))
    if example.is_relative_to(Path.cwd()):
        example = example.relative_to(Path.cwd())
    return (
        f"Maeum {__version__} serves {manifest.name} {manifest.version} ({model.precision}, {model.provider}).\n"
        f"  In a browser:  {address}/docs\n"
        f"  In a shell:    curl -F audio=@{example} {address}/predict"
    )


def _say(text: str) -> None:
    """Prints to stdout where that works: a service does not end because its disk is full or its pipe closed."""
    try:
        print(text, flush=True)
    except OSError:
        _silence_stdout()


def _silence_stdout() -> None:
    """What is left in its buffer would fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(sentence: str, code: int = 1) -> int:
    with suppress(OSError):  # stderr may be full or closed too; the exit code says as much
        print(f"maeum: {sentence}", file=sys.stderr, flush=True)
    return code
