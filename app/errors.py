"""Every failure that a user can meet, as one tree. `app.web.problems` turns one into an HTTP answer.

MaeumError
├── RequestError             the sender can correct it
│   ├── HttpInvalid          http_invalid
│   ├── HeadersTooLarge      headers_too_large
│   ├── TransferCodingUnsupported   transfer_coding_unsupported
│   ├── HostNotAllowed       host_not_allowed
│   ├── OriginNotAllowed     origin_not_allowed
│   ├── InvalidRequest       invalid_request
│   ├── UnknownField         unknown_field
│   ├── DuplicateField       duplicate_field
│   ├── ContentTypeUnsupported   content_type_unsupported
│   ├── ChannelInvalid       channel_invalid
│   ├── TimeoutInvalid       timeout_invalid
│   ├── NotFound             not_found
│   ├── MethodNotAllowed     method_not_allowed
│   ├── NothingGiven         nothing_given
│   ├── TranscriptTooLong    transcript_too_long
│   ├── BodyTooLarge         body_too_large
│   ├── UploadTooSlow        upload_too_slow
│   ├── UploadsFull          uploads_full
│   ├── QueueFull            queue_full
│   ├── RequestsFull         requests_full
│   ├── RateLimited          rate_limited
│   ├── KeyMissing           key_missing
│   ├── KeyUnknown           key_unknown
│   ├── KeyNotAdmin          key_not_admin
│   ├── ReloadFailed         reload_failed
│   └── AudioError
│       ├── AudioFormatUnsupported   audio_format_unsupported
│       ├── AudioUndecodable         audio_undecodable
│       ├── AudioEmpty               audio_empty
│       ├── AudioTooLong             audio_too_long
│       ├── AudioTooManyChannels     audio_too_many_channels
│       ├── ChannelMissing           channel_missing
│       └── AudioTooCostly           audio_too_costly
├── ServiceError             the service failed, or cannot answer yet
│   ├── NotReady             not_ready
│   ├── DeadlineExceeded     deadline_exceeded
│   ├── ClientGone           client_gone
│   ├── DecoderUnavailable   decoder_unavailable
│   ├── InferenceFailed      inference_failed
│   └── InternalError        internal_error
└── StartError               the service cannot start; raised before a request is answered
    ├── SettingsInvalid      settings_invalid
    ├── ModelNotFound        model_not_found
    ├── ModelCorrupt         model_corrupt
    ├── ModelUnreachable     model_unreachable
    ├── ProviderUnavailable  provider_unavailable
    └── RuntimeConflict      runtime_conflict
"""

import traceback
from typing import ClassVar


class MaeumError(Exception):
    """Base of the tree. `str(error)` is a sentence or a few that a person can act on.

    `code` never changes once published. `status` is the HTTP status. `sentence` is the default text: it holds whatever
    the settings are, and a raiser that knows more, such as the limit in force, gives its own.
    """

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]
    sentence: ClassVar[str]

    def __init__(self, sentence: str | None = None) -> None:
        super().__init__(sentence or self.sentence)


class RequestError(MaeumError):
    """The sender can correct it, or send it again later: 4xx, and 501 for a transfer coding, as RFC 9112 says."""


class HttpInvalid(RequestError):
    code, status, title = "http_invalid", 400, "The request is not HTTP"
    sentence = "The bytes received are not an HTTP/1.1 request; check the client and any proxy in between."


class HeadersTooLarge(RequestError):
    code, status, title = "headers_too_large", 431, "The headers are too large"
    sentence = "All headers of a request together may have at most 65,536 bytes."


class TransferCodingUnsupported(RequestError):
    code, status, title = "transfer_coding_unsupported", 501, "The transfer coding is not supported"
    sentence = "Send the body with Content-Length or as `Transfer-Encoding: chunked`, without compression."


class HostNotAllowed(RequestError):
    code, status, title = "host_not_allowed", 421, "The service has another name"
    sentence = (
        "The Host header names a host that the service does not take for itself. The operator can add the name to "
        "MAEUM_ALLOWED_HOSTS."
    )


class OriginNotAllowed(RequestError):
    code, status, title = "origin_not_allowed", 403, "Pages of this origin may not do this"
    sentence = "The request comes from a page of another site. The operator can add its origin to MAEUM_CORS_ORIGINS."


class InvalidRequest(RequestError):
    code, status, title = "invalid_request", 422, "The request cannot be read"
    sentence = "The body is damaged, cut or not as /docs describes it for this address; correct it and send it whole."


class UnknownField(RequestError):
    code, status, title = "unknown_field", 422, "The request has an unknown field"
    sentence = "Remove or rename the form field, query parameter or JSON key; /docs lists those of each address."


class DuplicateField(RequestError):
    code, status, title = "duplicate_field", 422, "The request has a field twice"
    sentence = "Send each field at most once: one utterance per request."


class ContentTypeUnsupported(RequestError):
    code, status, title = "content_type_unsupported", 415, "The content type is not supported"
    sentence = "Send one of the content types that /docs lists for this address, and name it in `Content-Type`."


class ChannelInvalid(RequestError):
    code, status, title = "channel_invalid", 422, "The channel cannot be used"
    sentence = "`channel` must be `mix`, or the number of a channel of the audio; the first is 0."


class TimeoutInvalid(RequestError):
    code, status, title = "timeout_invalid", 422, "X-Request-Timeout cannot be read"
    sentence = "X-Request-Timeout must be a number of seconds above 0, such as 2.5."


class NotFound(RequestError):
    code, status, title = "not_found", 404, "No such address"
    sentence = "Nothing is served at this address; /docs lists the addresses."


class MethodNotAllowed(RequestError):
    code, status, title = "method_not_allowed", 405, "The address does not take this method"
    sentence = "Use a method from the Allow header; /docs lists them."


class NothingGiven(RequestError):
    code, status, title = "nothing_given", 422, "Neither audio nor transcript"
    sentence = (
        "Send multipart/form-data with a file `audio`, a text field `transcript`, or both. "
        "A transcript that is blank or has only transcription tags counts as not given."
    )


class TranscriptTooLong(RequestError):
    code, status, title = "transcript_too_long", 422, "The transcript is too long"
    sentence = "Send the transcript of one utterance."


class BodyTooLarge(RequestError):
    code, status, title = "body_too_large", 413, "The request is too large"
    sentence = "Send one utterance, or a compressed format such as FLAC or Opus."


class UploadTooSlow(RequestError):
    code, status, title = "upload_too_slow", 408, "The request did not arrive in time"
    sentence = "Send a compressed format such as FLAC or Opus, or use a faster connection."


class UploadsFull(RequestError):
    code, status, title = "uploads_full", 429, "Too much is being uploaded"
    sentence = "The service is busy; send the request again after the seconds in the Retry-After header."


class QueueFull(RequestError):
    code, status, title = "queue_full", 429, "Too many utterances are waiting"
    sentence = "The service is busy; send the request again after the seconds in the Retry-After header."


class RequestsFull(RequestError):
    code, status, title = "requests_full", 429, "Too many requests are under way"
    sentence = "The service is busy; send the request again after the seconds in the Retry-After header."


class RateLimited(RequestError):
    code, status, title = "rate_limited", 429, "Too many requests"
    sentence = "The rate limit is exhausted; send the request again after the seconds in the Retry-After header."


class KeyMissing(RequestError):
    code, status, title = "key_missing", 401, "An API key is required"
    sentence = "Send your key as `Authorization: Bearer KEY` or as `X-API-Key: KEY`."


class KeyUnknown(RequestError):
    code, status, title = "key_unknown", 401, "The API key is unknown"
    sentence = "The key is wrong or no longer valid; ask the operator for a new one."


class KeyNotAdmin(RequestError):
    code, status, title = "key_not_admin", 403, "The API key may not do this"
    sentence = "This address requires a key that the operator has marked admin."


class ReloadFailed(RequestError):
    code, status, title = "reload_failed", 409, "The model was not exchanged"
    sentence = "The previous model is still served."


class AudioError(RequestError):
    """The audio cannot be used."""


class AudioFormatUnsupported(AudioError):
    code, status, title = "audio_format_unsupported", 415, "The audio format is not supported"
    sentence = (
        "Send WAV (PCM, float, A-law or mu-law), FLAC, OGG (Vorbis or Opus), MP3, M4A (AAC), "
        "WebM (Opus or Vorbis) or AMR."
    )


class AudioUndecodable(AudioError):
    code, status, title = "audio_undecodable", 422, "The audio cannot be decoded"
    sentence = "The file is damaged or incomplete; save or convert it again and send the whole file."


class AudioEmpty(AudioError):
    code, status, title = "audio_empty", 422, "The audio is empty"
    sentence = "The file has no audio samples; check that the recording was saved before it was sent."


class AudioTooLong(AudioError):
    code, status, title = "audio_too_long", 422, "The audio is too long"
    sentence = "Cut the recording into utterances of a few seconds and send them one by one."


class AudioTooManyChannels(AudioError):
    code, status, title = "audio_too_many_channels", 422, "The audio has too many channels"
    sentence = "Send the channel with the speaker, or mix the channels down to one."


class ChannelMissing(AudioError):
    code, status, title = "channel_missing", 422, "The audio has no such channel"
    sentence = "Channels count from 0, which is the left one; send `mix`, or leave `channel` out, to use them all."


class AudioTooCostly(AudioError):
    code, status, title = "audio_too_costly", 422, "Decoding the audio takes too long or too much memory"
    sentence = "Decoding exceeded its time or memory limit; convert the clip to WAV or FLAC and send it again."


class ServiceError(MaeumError):
    """The service failed, or cannot answer yet: 5xx."""


class NotReady(ServiceError):
    code, status, title = "not_ready", 503, "The service is not ready"
    sentence = "The model is still loading, or has stopped; try again when /health/ready answers 200."


class DeadlineExceeded(ServiceError):
    code, status, title = "deadline_exceeded", 504, "The answer was not ready in time"
    sentence = "The request was cancelled at its deadline; try again later, or with a longer X-Request-Timeout."


class ClientGone(ServiceError):
    """For logs and metrics only, as the client is gone. The status is nginx's."""

    code, status, title = "client_gone", 499, "The client went away"
    sentence = "The connection was closed before the answer was ready."


class DecoderUnavailable(ServiceError):
    code, status, title = "decoder_unavailable", 503, "No decoder can be started"
    sentence = "The service cannot decode audio at the moment; try again after the seconds in the Retry-After header."


class InferenceFailed(ServiceError):
    code, status, title = "inference_failed", 500, "The model failed on this request"
    sentence = "The model could not compute an answer. Tell the operator the request id."


class InternalError(ServiceError):
    code, status, title = "internal_error", 500, "The service failed"
    sentence = "An unexpected error occurred. Tell the operator the request id."


class StartError(MaeumError):
    """The service cannot start. Over HTTP it shows as `not_ready`."""

    status = 503


class SettingsInvalid(StartError):
    code, title = "settings_invalid", "A setting is wrong"
    sentence = "A MAEUM_ environment variable or a command line option is wrong."


class ModelNotFound(StartError):
    code, title = "model_not_found", "No such model"
    sentence = "The model is not in the model store; `maeum models` lists the models in it."


class ModelCorrupt(StartError):
    code, title = "model_corrupt", "The model is damaged"
    sentence = "A file of the model is missing or changed; fetch the version again."


class ModelUnreachable(StartError):
    code, title = "model_unreachable", "The model store cannot be reached"
    sentence = "The model store does not answer; check MAEUM_MODEL_STORE, the network and credentials."


class ProviderUnavailable(StartError):
    code, title = "provider_unavailable", "The requested device cannot be used"
    sentence = (
        "CUDA was requested but cannot be used: the GPU, its driver, the container toolkit or the `gpu` extra is "
        "missing. MAEUM_PROVIDER=cpu runs without it."
    )


class RuntimeConflict(StartError):
    code, title = "runtime_conflict", "The inference runtime is installed wrongly"
    sentence = "Exactly one of onnxruntime and onnxruntime-gpu must be installed."


def traceback_without_values(error: BaseException) -> str:
    """The traceback of `error` and its causes without their messages, which may quote what a user sent."""
    lines: list[str] = []
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        lines += [type(current).__name__ + ":\n", *traceback.format_tb(current.__traceback__)]
        current = current.__cause__ or current.__context__
    return "".join(lines).rstrip()
