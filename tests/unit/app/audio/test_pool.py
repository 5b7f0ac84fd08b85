"""The processes that decode: a failure in one stays there and disturbs no other clip."""

import asyncio
import io
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from app.audio.decode import Clip, Limits, decode
from app.audio.pool import Decoders
from app.errors import (
    AudioEmpty,
    AudioError,
    AudioFormatUnsupported,
    AudioTooCostly,
    AudioTooLong,
    AudioTooManyChannels,
    AudioUndecodable,
    ChannelMissing,
    DecoderUnavailable,
)
from tests.support import ROOT, encoded
from tests.support.sounds import sound_file

MakeSpeech = Callable[..., NDArray[np.float32]]
MAGICS = (
    b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0data\xff\xff\xff\xff",
    b"fLaC\0\0\0\x22",
    b"OggS\0\2" + bytes(20) + b"\1\x1eOpusHead",
    b"OggS\0\2" + bytes(20) + b"\1\x1e\1vorbis",
    b"\xff\xfb\x90\x64",
    b"\0\0\0\x14ftypM4A \0\0\0\0M4A \0\0\xff\xffmoov",
    b"\x1a\x45\xdf\xa3\x84\x42\x82\x84webm\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff",
    b"#!AMR\n",
    b"#!AMR-WB\n",
    b"ID3\4\0\0\0\0\0\0fLaC",
)


class Pool(Decoders):
    """Decoders, with a list of why processes were replaced, and with their process ids."""

    def __init__(self, count: int = 1, timeout_s: float = 10, memory_bytes: int = 10**9, **limits: Any) -> None:
        self.restarts: list[str] = []
        super().__init__(count, Limits(**limits), timeout_s, memory_bytes, self.restarts.append)

    def run(self, *files: bytes) -> list[Clip | BaseException]:
        """The outcome of each of `files`, sent at once."""

        async def together() -> list[Clip | BaseException]:
            return await asyncio.gather(*map(self.decode, files), return_exceptions=True)

        return asyncio.run(together())

    def __enter__(self) -> "Pool":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# Processes that other tests have started from this one, such as multiprocessing's own.
OTHERS: set[int] = set()


@pytest.fixture(autouse=True, scope="module")
def others() -> None:
    OTHERS.update(children())


def children() -> list[int]:
    """Process ids of the decoders that this process has started, those that have ended but were not waited for too."""
    pids: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            pids += map(int, (task / "children").read_text().split())
    return sorted(pid for pid in pids if pid not in OTHERS)


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    before = children()
    yield
    assert children() == before


def same(one: Clip | BaseException, other: Clip) -> bool:
    assert isinstance(one, Clip), one
    assert one.samples.dtype == np.float32
    described = replace(one, samples=other.samples)  # what else is said of it
    return vars(described) == vars(other) and bool((one.samples == other.samples).all())


def test_the_same_samples_as_in_this_process(
    make_speech: MakeSpeech, make_file: Callable[..., bytes], wav: bytes
) -> None:
    files = [wav, make_file(make_speech(3.0, 44100, 2), 44100, "FLAC")]
    files += [encoded.encode(make_speech(0.5, kind.rate), kind) for kind in (encoded.M4A, encoded.OPUS_WEBM)]
    with Pool(2) as pool:
        assert all(same(clip, decode(data)) for clip, data in zip(pool.run(*files), files, strict=True))
        assert pool.busy == 0 and pool.restarts == []


def test_the_channel_and_what_is_said_of_it_cross_the_pipes() -> None:
    voice = decode((ROOT / "examples/complaint.wav").read_bytes()).samples
    pairs = (voice, -voice), (voice, voice[::-1]), (np.zeros_like(voice), voice)
    inverted, different, alone = (sound_file(np.stack(pair, axis=1)) for pair in pairs)
    asked = [(data, channel) for channel in (None, 0, 1) for data in (inverted, different, alone)]
    with Pool() as pool:

        async def ask() -> list[Clip]:
            return [await pool.decode(data, channel) for data, channel in asked]

        clips = asyncio.run(ask())
        assert all(map(same, clips, [decode(data, channel=channel) for data, channel in asked]))
        assert [clip.channel for clip in clips] == [0, None, 1, 0, 0, 0, 1, 1, 1]
        assert [clip.channels_differ for clip in clips] == [False, True] + 7 * [False]
        for missing in (2, 8, 2**40, -1):
            with pytest.raises(ChannelMissing):
                asyncio.run(pool.decode(inverted, missing))
        assert pool.restarts == []


def test_refusals_come_with_their_sentences(wav: bytes) -> None:
    nine = io.BytesIO()
    soundfile.write(nine, np.zeros((100, 9)), 8000, format="WAV")
    bomb = io.BytesIO()
    soundfile.write(bomb, np.zeros(1_000_000, dtype=np.int16), 8000, format="FLAC")
    g721 = io.BytesIO()
    soundfile.write(g721, np.zeros(1000), 8000, format="WAV", subtype="G721_32")
    files = [b"", b"\xed\x95\x9c\xea\xb5\xad" * 9, wav[:20], nine.getvalue(), bomb.getvalue(), g721.getvalue()]
    kinds = [AudioEmpty, AudioFormatUnsupported, AudioUndecodable, AudioTooManyChannels, AudioTooLong]
    kinds.append(AudioFormatUnsupported)
    with Pool(max_duration_s=100) as pool:
        for outcome, data, kind in zip(pool.run(*files), files, kinds, strict=True):
            with pytest.raises(kind) as here:
                decode(data, Limits(max_duration_s=100))
            assert type(outcome) is kind and str(outcome) == str(here.value)
        assert pool.restarts == []


@pytest.mark.parametrize("magic", MAGICS)
def test_random_bytes_after_a_magic(magic: bytes, wav: bytes) -> None:
    random = np.random.default_rng(7)
    with Pool(2) as pool:
        answers = pool.run(*(magic + random.bytes(size) for size in (0, 1, 30, 1000, 100_000)), wav)
        assert all(isinstance(answer, (Clip, AudioError)) for answer in answers)
        assert same(answers[-1], decode(wav))


def test_a_process_killed_while_idle_costs_nothing(wav: bytes) -> None:
    with Pool() as pool:
        pool.run(wav)
        (pid,) = children()
        os.kill(pid, signal.SIGKILL)
        assert same(pool.run(wav)[0], decode(wav))
        assert pool.restarts == ["died"] and children() != [pid]


def test_a_process_killed_before_it_was_ready_costs_nothing(wav: bytes) -> None:
    with Pool() as pool:
        os.kill(children()[0], signal.SIGKILL)
        assert same(pool.run(wav)[0], decode(wav))
        assert pool.restarts == ["died"]


def test_a_process_killed_while_idle_and_the_next_at_its_start_cost_nothing(wav: bytes) -> None:
    async def main(pool: Pool) -> Clip:
        await pool.decode(wav)
        (idle,) = children()
        os.kill(idle, signal.SIGKILL)
        decoding = asyncio.create_task(pool.decode(wav))
        while not (found := children()) or found == [idle]:
            await asyncio.sleep(0.001)
        os.kill(found[0], signal.SIGKILL)
        return await decoding

    with Pool() as pool:
        assert same(asyncio.run(main(pool)), decode(wav))
        assert pool.restarts == ["died"] * 2 and pool.failure is None


def received_bytes(pid: int) -> int:
    """Bytes that a process has read since it started, its own program included; 0 if it has just ended."""
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        return int(Path(f"/proc/{pid}/io").read_text().split()[1])
    return 0


@pytest.mark.parametrize("crashes", [1, 2])
def test_a_crash_is_one_more_try_and_no_more(crashes: int) -> None:
    file = io.BytesIO()
    noise = np.random.default_rng(2).integers(-9999, 9999, (1_250_000, 8)).astype(np.int16)
    soundfile.write(file, noise, 48000, format="FLAC")
    data = file.getvalue()

    async def main(pool: Pool) -> Clip:
        with pytest.raises(AudioEmpty):
            await pool.decode(b"")
        (pid,) = children()
        at_first = received_bytes(pid)
        decoding = asyncio.create_task(pool.decode(data))
        for _ in range(crashes):
            # Half of the file has arrived; the rest and decoding it take a while.
            while not (found := children()) or received_bytes(found[0]) < at_first + len(data) // 2:
                await asyncio.sleep(0.001)
            os.kill(found[0], signal.SIGKILL)
            while found[0] in children():
                await asyncio.sleep(0.001)
        return await decoding

    with Pool() as pool:
        if crashes == 1:
            assert same(asyncio.run(main(pool)), decode(data))
        else:
            with pytest.raises(AudioUndecodable):
                asyncio.run(main(pool))
        assert pool.restarts == ["died"] * crashes


def test_a_hang_ends_and_the_next_clip_is_decoded(make_speech: MakeSpeech, wav: bytes) -> None:
    """A stopped process is as hung as one can be: not even its own timer runs."""
    with Pool(timeout_s=0.2) as pool:
        pool.run(wav)
        os.kill(children()[0], signal.SIGSTOP)
        assert isinstance(pool.run(wav)[0], AudioTooCostly)
        assert pool.restarts == ["timeout"]
        assert same(pool.run(wav)[0], decode(wav))


def test_a_process_ends_by_its_own_timer(make_file: Callable[..., bytes]) -> None:
    """A process that decodes too long dies even if nobody kills it."""
    long = make_file(np.zeros((1_000_000, 8), dtype=np.float32), 48000, "FLAC")
    with Pool(timeout_s=0.001) as pool:
        assert isinstance(pool.run(long)[0], AudioTooCostly)
        assert pool.restarts == ["timeout"]


def test_memory_is_bounded(make_speech: MakeSpeech, make_file: Callable[..., bytes], wav: bytes) -> None:
    large = make_file(np.zeros((2_000_000, 8), dtype=np.float32), 48000, "FLAC")
    m4a = encoded.encode(make_speech(0.5, 44100), encoded.M4A)  # whose library is not loaded yet, and finds no room
    with Pool(memory_bytes=12_000_000) as pool:
        for number, costly in enumerate((large, m4a), 1):
            assert isinstance(pool.run(costly)[0], AudioTooCostly)
            assert pool.restarts == ["memory"] * number
        assert same(pool.run(wav)[0], decode(wav))


def test_two_are_decoded_at_once(wav: bytes) -> None:
    """While one process is stopped in the middle of a clip, the other goes on."""

    async def main(pool: Pool) -> None:
        await asyncio.gather(pool.decode(wav), pool.decode(wav))
        stopped = children()[0]
        os.kill(stopped, signal.SIGSTOP)
        first, second = (asyncio.create_task(pool.decode(wav)) for _ in range(2))
        done, waiting = await asyncio.wait((first, second), return_when=asyncio.FIRST_COMPLETED)
        assert len(done) == len(waiting) == 1 and pool.busy == 1
        for _ in range(5):
            assert same(await pool.decode(wav), decode(wav))
        os.kill(stopped, signal.SIGCONT)
        assert same(await waiting.pop(), decode(wav))

    with Pool(2) as pool:
        asyncio.run(main(pool))
        assert pool.restarts == []


def test_a_clip_cancelled_while_waiting_is_not_decoded(wav: bytes) -> None:
    async def main(pool: Pool) -> None:
        await pool.decode(wav)
        os.kill(children()[0], signal.SIGSTOP)
        running, waiting = (asyncio.create_task(pool.decode(wav)) for _ in range(2))
        await asyncio.sleep(0)
        assert pool.busy == 2
        waiting.cancel()
        await asyncio.wait((waiting,))
        assert waiting.cancelled() and pool.busy == 1
        os.kill(children()[0], signal.SIGCONT)
        assert same(await running, decode(wav))

    with Pool() as pool:
        asyncio.run(main(pool))


def test_a_clip_cancelled_midway_harms_no_other(wav: bytes) -> None:
    async def main(pool: Pool) -> None:
        await pool.decode(wav)
        os.kill(children()[0], signal.SIGSTOP)
        gone = asyncio.create_task(pool.decode(wav))
        while pool.busy == 0:
            await asyncio.sleep(0)
        gone.cancel()
        os.kill(children()[0], signal.SIGCONT)
        assert same(await pool.decode(wav), decode(wav))

    with Pool() as pool:
        asyncio.run(main(pool))
        assert pool.restarts == []


def test_signals_to_the_group_are_not_for_them(wav: bytes) -> None:
    with Pool() as pool:
        pool.run(wav)
        (pid,) = children()
        assert os.getpgid(pid) != os.getpgid(0)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)
        assert same(pool.run(wav)[0], decode(wav))
        assert children() == [pid] and pool.restarts == []


def test_where_no_process_starts(wav: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with Pool() as pool:
        pool.run(wav)
        with monkeypatch.context() as broken:
            broken.setattr(sys, "executable", "/nowhere/python")
            os.kill(children()[0], signal.SIGKILL)
            for _ in range(2):
                assert isinstance(pool.run(wav)[0], DecoderUnavailable)
        assert same(pool.run(wav)[0], decode(wav))


def test_where_the_started_program_cannot_decode(
    wav: bytes, program: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    program("raise ValueError('not allowed to raise maximum limit')")
    with Pool() as pool:
        assert isinstance(pool.run(wav)[0], DecoderUnavailable)
        assert pool.failure is not None
        assert pool.failure.endswith("ValueError: not allowed to raise maximum limit") and pool.failure in caplog.text
        assert all("\n" not in record.getMessage() for record in caplog.records)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the pool start a Python program in place of its own; `worker` in it is the module."""

    def replace_by(code: str) -> None:
        script = tmp_path / "python"
        imports = (
            "import sys\nsys.argv[:4] = ['-c']\nsys.path.insert(0, sys.argv.pop(1))\nfrom app.audio import worker\n"
        )
        script.write_text(f"#!{sys.executable}\n{imports}{code}\n")
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))

    return replace_by


def test_the_last_words_of_a_process_reach_the_log_without_the_file(
    program: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    program(
        "def decode(data, *_):\n    print(data, file=sys.stderr)\n    raise ValueError(data)\n"
        "worker.decode = decode\nworker.main()"
    )
    with Pool() as pool:
        assert isinstance(pool.run(b"private words")[0], AudioUndecodable)
        assert pool.restarts == ["died", "died"] and pool.failure is None
    assert "ValueError" in caplog.text and "in decode" in caplog.text and "private" not in caplog.text


def test_a_crash_in_a_library_says_where(
    wav: bytes, program: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    program("import os\nworker.decode = lambda *_: os.abort()\nworker.main()")
    with Pool() as pool:
        assert isinstance(pool.run(wav)[0], AudioUndecodable)
    assert "Fatal Python error: Aborted" in caplog.text and "worker.py" in caplog.text


def test_the_check_decodes_a_clip(program: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    with Pool() as pool:
        asyncio.run(pool.check())
        assert pool.failure is None
    with Pool(max_duration_s=0.05) as pool:  # less than the check's clip: it is refused, which takes a decoder
        asyncio.run(pool.check())
    program("def decode(*_):\n    raise MemoryError\nworker.decode = decode\nworker.main()")
    with Pool() as pool:
        with pytest.raises(DecoderUnavailable):
            asyncio.run(pool.check())
        assert "exceeded its time or memory limit" in str(pool.failure)


def test_closing_ends_all_at_once(wav: bytes) -> None:
    async def main(pool: Pool) -> None:
        await pool.decode(wav)
        os.kill(children()[0], signal.SIGSTOP)
        tasks = [asyncio.create_task(pool.decode(wav)) for _ in range(3)]
        while pool.busy < 3:
            await asyncio.sleep(0)
        pool.close()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(answer) for answer in answers] == [DecoderUnavailable] * 3
        with pytest.raises(DecoderUnavailable):
            await pool.decode(wav)

    with Pool() as pool:
        asyncio.run(main(pool))
        assert pool.restarts == []


def test_they_end_with_the_service(wav: bytes, tmp_path: Path) -> None:
    """Also where it is killed; and they find their packages in a folder full of names like theirs."""
    for name in ("app", "numpy", "soundfile", "signal", "struct"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the working directory was imported')")
    (tmp_path / "clip").write_bytes(wav)
    code = """
import asyncio, os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from app.audio.decode import Limits
from app.audio.pool import Decoders
pool = Decoders(2, Limits(), 10, 10**9)
pool.start()
clip = Path("clip").read_bytes()
async def main():
    return await asyncio.gather(*(pool.decode(clip) for _ in range(4)))
assert [len(clip.samples) for clip in asyncio.run(main())] == [16000] * 4
tasks = Path("/proc/self/task").iterdir()
print(*(pid for task in tasks for pid in (task / "children").read_text().split()), flush=True)
input()
"""
    command = [sys.executable, "-P", "-c", code, str(ROOT)]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        pids = list(map(int, service.stdout.readline().split()))
        service.kill()
    assert len(pids) == 2
    for pid in pids:
        try:
            ended = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        assert select.select([ended], [], [], 30)[0]
        os.close(ended)
