"""MP4, WebM, ADTS and AMR: the recordings of phones and browsers, and the harm that such files must not do."""

import io
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from app.audio.decode import SAMPLE_RATE, Limits, decode
from app.errors import (
    AudioEmpty,
    AudioError,
    AudioFormatUnsupported,
    AudioTooLong,
    AudioTooManyChannels,
    AudioUndecodable,
)
from tests.support import ROOT, encoded
from tests.support.damage import damaged
from tests.support.encoded import Kind, encode

MakeSpeech = Callable[..., NDArray[np.float32]]
INDEX_AT_END = (encoded.M4A, encoded.OPUS_MP4, encoded.AMR_3GP)
# Formats that cannot store how much silence the encoder put before the sound, and the most it can be.
DELAY_S = {encoded.ADTS: 0.07, encoded.AMR: 0.02, encoded.AMR_3GP: 0.02}
PADDING_S = 0.024  # the last frame is filled up


def _speech(make_speech: MakeSpeech, kind: Kind, seconds: float = 1.0) -> NDArray[np.float32]:
    return make_speech(seconds, kind.rate, kind.channels)


def _name(kind: object) -> str:
    return "-".join(str(part) for part in kind if part) if isinstance(kind, Kind) else str(kind)


@pytest.mark.parametrize("kind", encoded.KINDS, ids=_name)
def test_a_recording_decodes_to_its_original(make_speech: MakeSpeech, kind: Kind) -> None:
    clip = decode(encode(_speech(make_speech, kind), kind))
    delay_s = DELAY_S.get(kind, 0.0)
    assert clip.sample_rate == kind.rate and clip.channels == kind.channels
    assert 1 <= clip.duration_s < 1 + delay_s + PADDING_S
    assert len(clip.samples) == pytest.approx(clip.duration_s * SAMPLE_RATE, abs=1)
    assert clip.samples.dtype == np.float32 and clip.samples.flags.c_contiguous
    # There is no delay where the file stores its length; the ends differ because the codec smears them.
    decoded, original = clip.samples, make_speech(1.0)[500:-1500]
    lags = range(500, 500 + int(delay_s * SAMPLE_RATE) + 1)
    likeness = max(np.corrcoef(decoded[lag : lag + len(original)], original)[0, 1] for lag in lags)
    assert likeness > (0.9 if "amr" in kind.codec else 0.995)


def test_both_paths_decode_the_same_opus(make_speech: MakeSpeech, make_file: Callable[..., bytes]) -> None:
    speech = make_speech(1.0, 48000, 2)
    ogg, webm = decode(make_file(speech, 48000, "OGG", "OPUS")), decode(encode(speech, encoded.OPUS_WEBM))
    assert (ogg.duration_s, ogg.channels) == (webm.duration_s, webm.channels) == (1.0, 2)
    assert np.corrcoef(ogg.samples, webm.samples)[0, 1] > 0.995


def test_amr_wb() -> None:
    clip = decode(encoded.amr_wb(50))
    assert (clip.duration_s, clip.sample_rate, len(clip.samples)) == (1.0, 16000, 16000)


def test_a_video_before_the_sound_is_left_out(make_speech: MakeSpeech) -> None:
    data = encode(make_speech(1.0, 48000), encoded.OPUS_WEBM, video=True)
    assert data.index(b"V_VP8") < data.index(b"A_OPUS")
    assert decode(data).duration_s == pytest.approx(1.0, abs=0.01)


def test_a_video_without_sound_is_empty() -> None:
    with pytest.raises(AudioEmpty, match="no audio track"):
        decode(encode(None, encoded.OPUS_WEBM, video=True))


@pytest.mark.parametrize("kind", encoded.KINDS, ids=_name)
def test_cut_files_are_decoded_up_to_the_cut(make_speech: MakeSpeech, kind: Kind) -> None:
    """Provided that the kept part has the index or header. A longer part never gives less audio."""
    data = encode(_speech(make_speech, kind), kind)
    seconds = []
    for size in range(1, len(data), len(data) // 40):
        try:
            seconds.append(decode(data[:size]).duration_s)
        except (AudioEmpty, AudioFormatUnsupported, AudioUndecodable):
            seconds.append(0.0)
    assert seconds == sorted(seconds)
    assert (max(seconds[:-2]) > 0.8) == (kind not in INDEX_AT_END)


@pytest.mark.parametrize("kind", encoded.KINDS, ids=_name)
def test_damaged_files_never_raise_anything_else(make_speech: MakeSpeech, kind: Kind) -> None:
    data = encode(_speech(make_speech, kind, 0.3), kind)
    for copy in damaged(data):
        try:
            clip = decode(copy)
        except AudioError:
            continue
        assert np.isfinite(clip.samples).all() and np.abs(clip.samples).max(initial=0) <= 1


def test_damage_in_the_middle_is_refused(make_speech: MakeSpeech) -> None:
    """Leaving a piece out silently would change the speech."""
    data = bytearray(encode(make_speech(1.0, 16000), encoded.ADTS))
    frames, at = [], 0
    while at < len(data):
        frames.append(at)
        at += (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    for frame, end in (frames[5:7], frames[-2:]):
        damaged = bytearray(data)
        damaged[frame + 7 : end] = b"\xff" * (end - frame - 7)
        with pytest.raises(AudioUndecodable):
            decode(bytes(damaged))


@pytest.mark.parametrize(("rate", "channels"), [(16000, 2), (8000, 1)])
def test_a_change_of_rate_or_channels_is_refused(make_speech: MakeSpeech, rate: int, channels: int) -> None:
    first = encode(make_speech(0.5, 16000), encoded.ADTS)
    other = encode(make_speech(0.5, rate, channels), encoded.ADTS._replace(rate=rate))
    assert decode(first + first).duration_s > 1 and decode(other).duration_s > 0.5
    with pytest.raises(AudioUndecodable, match="midway"):
        decode(first + other)


def test_limits(make_speech: MakeSpeech) -> None:
    webm, m4a = (encode(make_speech(1.0, kind.rate, 2), kind) for kind in (encoded.OPUS_WEBM, encoded.M4A))
    for data in (webm, m4a):
        with pytest.raises(AudioTooManyChannels, match="has 2 channels and may have 1"):
            decode(data, Limits(max_channels=1))
        with pytest.raises(AudioTooLong, match="1 s"):
            decode(data, Limits(max_duration_s=0.9))
        with pytest.raises(AudioTooLong):
            decode(data, Limits(max_decoded_bytes=300_000))


def test_six_channels_are_decoded_and_eight_are_too_many(make_speech: MakeSpeech) -> None:
    assert decode(encode(make_speech(0.5, 44100, 6), encoded.M4A)).channels == 6
    eight = Path(__file__).parent / "crashes" / "eight-channels.m4a"
    with pytest.raises(AudioTooManyChannels, match="has 8 channels and may have 7"):
        decode(eight.read_bytes())


def test_an_hour_of_nothing_is_stopped_while_it_decodes() -> None:
    silence = encoded.amr_wb(50 * 3600)
    assert len(silence) < 200_000
    with pytest.raises(AudioTooLong, match="600 s"):
        decode(silence)


@pytest.mark.parametrize("codec", ["mp3", "flac", "alac", "pcm_s16le"])
def test_other_codecs_are_named_and_refused(make_speech: MakeSpeech, codec: str) -> None:
    encoder = {"mp3": "libmp3lame"}.get(codec, codec)
    muxer = "ipod" if codec == "alac" else "matroska"
    with pytest.raises(AudioFormatUnsupported, match=f"encoded as {codec}"):
        decode(encode(make_speech(0.5, 48000), Kind(muxer, encoder, 48000)))


@pytest.mark.parametrize(
    "text",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
        b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'/>",
        b"[playlist]\nFile1=http://127.0.0.1/\n",
    ],
)
@pytest.mark.parametrize("magic", [b"", b"\0\0\0\x14ftypM4A \0\0\0\0M4A ", b"\x1a\x45\xdf\xa3", b"#!AMR\n"])
def test_text_that_names_other_files_is_no_audio(magic: bytes, text: bytes) -> None:
    with pytest.raises((AudioFormatUnsupported, AudioUndecodable, AudioEmpty)) as refused:
        decode(magic + text)
    assert "root" not in str(refused.value)


def test_a_file_that_names_another_does_not_get_it(make_speech: MakeSpeech, tmp_path: Path) -> None:
    """An MP4 file may hold its samples elsewhere; a decoder that looks there reads the server's files."""
    other = tmp_path / "other.m4a"
    other.write_bytes(encode(make_speech(1.0, 44100), encoded.M4A))
    data = _with_reference(other.read_bytes(), str(other))
    looking = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open(io.BytesIO(data), format="mp4", options=looking) as source:
        assert sum(frame.samples for frame in source.decode(audio=0)) > 44100  # the file is as dangerous as meant
    with pytest.raises((AudioEmpty, AudioUndecodable)):
        decode(data)


def _with_reference(m4a: bytes, path: str) -> bytes:
    """`m4a` with a Macintosh alias to `path` in place of the entry for samples in the file itself."""
    encoded_path = path.encode() + b"\0" * (len(path) % 2)
    alias = b"\0" * (10 + 28 + 12 + 64 + 16 + 4 + 16) + struct.pack(">HH", 2, len(encoded_path)) + encoded_path
    alias += b"\xff\xff\0\0" + b"\0" * 16
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    at = m4a.rindex(b"url ") - 4
    data = bytearray(m4a[:at] + entry + m4a[at + 12 :])
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        start = data.index(box, m4a.rindex(b"moov")) - 4
        (size,) = struct.unpack_from(">I", data, start)
        struct.pack_into(">I", data, start, size + len(entry) - 12)
    return bytes(data)


def test_other_files_do_not_load_the_library(wav: bytes, tmp_path: Path) -> None:
    (tmp_path / "clip.wav").write_bytes(wav)
    code = "import sys, app.audio.decode as d; d.decode(open('clip.wav', 'rb').read()); print('av' in sys.modules)"
    root = str(ROOT)
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r}); {code}"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip() == "False"
