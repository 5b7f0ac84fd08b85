"""MP4, WebM, ADTS and AMR: the recordings of phones and browsers, and the harm that such files must not do."""

import io
import struct
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
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
from tests.support.sounds import likeness, sound_file

MakeSpeech = Callable[..., NDArray[np.float32]]
RECORDED = Path(__file__).parent / "recorded"
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
            clip = decode(data[:size])
            seconds.append(clip.duration_s)
            # A cut right behind a frame of AMR or ADTS is the end of a shorter recording.
            assert (
                clip.part_missing or decode(data).duration_s == clip.duration_s or kind in (encoded.ADTS, encoded.AMR)
            )
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
        assert np.isfinite(clip.samples).all()


def test_a_frame_that_cannot_be_decoded_is_passed_over(make_speech: MakeSpeech) -> None:
    data = bytearray(encode(make_speech(1.0, 16000), encoded.ADTS))
    frames, at = [], 0
    while at < len(data):
        frames.append(at)
        at += (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    whole = decode(bytes(data))
    assert not whole.part_missing
    for frame, end in (frames[5:7], frames[-2:]):
        damaged = bytearray(data)
        damaged[frame + 7 : end] = b"\xff" * (end - frame - 7)
        clip = decode(bytes(damaged))
        assert clip.part_missing and 0 < whole.duration_s - clip.duration_s < 0.2
    for start, end in pairwise([*frames, len(data)]):
        data[start + 7 : end] = b"\xff" * (end - start - 7)
    with pytest.raises(AudioUndecodable):
        decode(bytes(data))


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


LOSSLESS_KINDS = [
    *(Kind("matroska", codec, 48000, 2) for codec in ("flac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_f32le")),
    *(Kind("mov", codec, 44100) for codec in ("pcm_s16le", "pcm_s16be", "pcm_s24be", "pcm_s24le", "pcm_f32be", "alac")),
    *(Kind("mov", codec, 8000) for codec in ("pcm_s8", "pcm_u8", "pcm_alaw", "pcm_mulaw")),
    *(Kind("ipod", "alac", 44100, channels) for channels in (1, 2)),
    *(Kind("mp4", codec, 48000) for codec in ("flac", "alac")),
    Kind("matroska", "alac", 48000),
    Kind("ogg", "flac", 48000, 2),
    Kind("flac", "flac", 44100),
]


@pytest.mark.parametrize("kind", LOSSLESS_KINDS, ids=_name)
def test_lossless_codecs_in_containers(make_speech: MakeSpeech, kind: Kind) -> None:
    clip = decode(encode(_speech(make_speech, kind), kind))
    assert (clip.sample_rate, clip.channels, clip.part_missing) == (kind.rate, kind.channels, False)
    assert clip.duration_s == pytest.approx(1, abs=0.001)
    expected = decode(sound_file(_speech(make_speech, kind), kind.rate, encoding="FLOAT")).samples
    tolerance = 2e-2 if kind.rate == 8000 else 2e-4
    np.testing.assert_allclose(clip.samples[: len(expected)], expected[: len(clip.samples)], atol=tolerance)


@pytest.mark.parametrize("muxer", ["matroska", "mp4"])
def test_mp3_in_containers(make_speech: MakeSpeech, muxer: str) -> None:
    clip = decode(encode(make_speech(1.0, 48000), Kind(muxer, "libmp3lame", 48000)))
    assert clip.duration_s == pytest.approx(1, abs=0.06) and not clip.part_missing


@pytest.mark.parametrize(
    ("muxer", "codec", "name"),
    [
        ("matroska", "ac3", "AC-3"),
        ("mp4", "ac3", "AC-3"),
        ("matroska", "tta", "TTA"),
        ("mov", "adpcm_ima_qt", "ADPCM IMA QuickTime"),
    ],
)
def test_other_codecs_are_refused_by_name(make_speech: MakeSpeech, muxer: str, codec: str, name: str) -> None:
    with pytest.raises(AudioFormatUnsupported, match=f"encoded as .*{name}"):
        decode(encode(make_speech(0.5, 48000), Kind(muxer, codec, 48000)))


@pytest.mark.parametrize("muxer", ["mp4", "matroska", "mov"])
@pytest.mark.parametrize(("first", "second"), [("ac3", "aac"), ("aac", "ac3"), ("alac", "aac"), ("aac", "aac")])
def test_a_second_audio_track(make_speech: MakeSpeech, muxer: str, first: str, second: str) -> None:
    """The first that can be decoded is; that there is another is said."""
    loud, quiet = make_speech(1.0, 48000), 0.01 * make_speech(1.0, 48000)
    clip = decode(encode(loud, Kind(muxer, first, 48000), beside=(quiet, second)))
    assert clip.part_missing and clip.duration_s == pytest.approx(1, abs=0.05)
    assert (np.abs(clip.samples).max() > 0.1) == (first != "ac3")


def test_a_first_track_that_is_damaged(make_speech: MakeSpeech) -> None:
    data = encode(make_speech(1.0, 48000), Kind("mov", "alac", 48000), beside=(0.01 * make_speech(1.0, 48000), "aac"))
    at = data.rindex(b"alac") + 12  # samples per frame, in the decoder's own header
    clip = decode(data[: at - 4] + b"\xff" * 12 + data[at + 8 :])
    assert clip.part_missing and 0.9 < clip.duration_s < 1.1 and np.abs(clip.samples).max() < 0.1


def test_an_encrypted_track_is_no_noise(make_speech: MakeSpeech) -> None:
    data = encode(make_speech(0.5, 44100), encoded.M4A)
    with pytest.raises(AudioFormatUnsupported, match="encrypted"):
        decode(data.replace(b"mp4a", b"enca"))


@pytest.mark.parametrize("name", ["he-aac.m4a", "he-aac.aac", "he-aac-v2.m4a", "he-aac-v2.aac", "amr-wb.awb"])
def test_files_of_encoders_that_are_not_at_hand(name: str) -> None:
    """Made once from original.flac, a second and a half of eSpeak NG's speech: HE-AAC by libfdk-aac, as npm's
    `@ffmpeg/core-st` 0.11.1 holds it, AMR-WB by Debian's `libvo-amrwbenc0`.
    """
    clip = decode((RECORDED / name).read_bytes())
    original = decode((RECORDED / "original.flac").read_bytes()).samples
    is_wide = name.startswith("amr")
    assert clip.sample_rate == (16000 if is_wide else 44100) and clip.channels == (1 if is_wide else 2)
    assert not clip.part_missing and 1.4 < clip.duration_s < 1.7
    assert likeness(clip.samples, original[1600:20000]) > 0.93


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


@pytest.mark.parametrize(
    "kind", [encoded.OPUS_WEBM, encoded.FRAGMENTED, encoded.FASTSTART, Kind("matroska", "flac", 48000)]
)
def test_damage_in_a_container_is_reported(make_speech: MakeSpeech, kind: Kind) -> None:
    """The demuxer finds the next piece by itself, and says nothing of what is lost between."""
    data = encode(make_speech(6.0, kind.rate), kind)
    whole = decode(data)
    assert not whole.part_missing and whole.duration_s == pytest.approx(6, abs=0.1)
    middle = len(data) // 2
    for damage in (b"\x55" * (len(data) // 8), np.random.default_rng(2).bytes(len(data) // 8)):
        try:
            clip = decode(data[:middle] + damage + data[middle + len(damage) :])
        except AudioUndecodable:
            continue
        assert clip.part_missing


@pytest.mark.parametrize("live", [False, True])
def test_a_recording_of_a_browser_that_is_cut(make_speech: MakeSpeech, live: bool) -> None:
    """A live stream does not know how long it and its clusters will be."""
    options = {"live": "1", "cluster_time_limit": "200"} if live else {}
    data = encode(make_speech(3.0, 48000), encoded.OPUS_WEBM, options=options)
    assert (b"\x18\x53\x80\x67\x01" + b"\xff" * 7 in data) == live
    assert not decode(data).part_missing
    clip = decode(data[: len(data) // 2 + 1])
    assert clip.part_missing and 1 < clip.duration_s < 2


def test_quicktime_from_before_mp4(make_speech: MakeSpeech) -> None:
    data = encode(make_speech(1.0, 44100), Kind("mov", "pcm_s16be", 44100))
    (size,) = struct.unpack_from(">I", data)
    assert data[4:8] == b"ftyp"
    shifted = data[:4] + b"free" + data[8:]  # offsets in the index stay right
    assert decode(shifted).samples.tobytes() == decode(data).samples.tobytes() and size < 100


def test_a_variant_that_cannot_be_decoded_is_named() -> None:
    with pytest.raises(AudioFormatUnsupported, match="AAC-ELD"):
        decode((RECORDED / "aac-eld.m4a").read_bytes())


@pytest.mark.parametrize("kind", [kind for kind in encoded.KINDS if kind.muxer != "adts"], ids=_name)
def test_joined_files_are_heard_to_the_end(make_speech: MakeSpeech, kind: Kind) -> None:
    one, other = (encode(_speech(make_speech, kind, seconds), kind) for seconds in (1.0, 2.0))
    clip = decode(one + other + one)
    assert not clip.part_missing
    assert clip.duration_s == pytest.approx(2 * decode(one).duration_s + decode(other).duration_s, abs=0.001)
    if kind not in INDEX_AT_END:
        assert decode(one + other[:-41]).part_missing


def test_joined_files_with_other_tables(make_speech: MakeSpeech) -> None:
    """By the tables of the first file, the second would be noise."""
    mono, stereo = (encode(make_speech(1.0, 48000, channels), Kind("webm", "libopus", 48000)) for channels in (1, 2))
    vorbis = encode(make_speech(1.0, 48000, 2), encoded.VORBIS_WEBM)
    assert decode(vorbis + stereo).duration_s == pytest.approx(2, abs=0.03)
    with pytest.raises(AudioUndecodable, match="midway"):
        decode(mono + stereo)
