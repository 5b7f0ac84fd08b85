"""Puts load on a running service, or measures the load generator itself.

python -m benchmarks.load --self-test
python -m benchmarks.load http://127.0.0.1:8000 --audio clip.wav --transcript TEXT [--rate 20]
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from .harness.client import predict_request
from .harness.load import Generator


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url", nargs="?", help="address of the service, such as http://127.0.0.1:8000")
    parser.add_argument("--self-test", action="store_true", help="only measure the generator's own limit")
    parser.add_argument("--audio", type=Path, action="append", default=[], help="file to send; may be repeated")
    parser.add_argument("--transcript", help="transcript to send with each file")
    parser.add_argument("--concurrency", type=int, default=4, help="connections of the closed loop (default: 4)")
    parser.add_argument("--rate", type=float, help="requests per second: run an open loop instead")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of the run (default: 5)")
    parser.add_argument("--cpus", type=int, nargs="*", default=[], help="pin the generator to these CPUs")
    options = parser.parse_args()
    # The default is 3.2 s of PCM16 at 16 kHz; half of KEMDy20's utterances are shorter.
    wavs = [path.read_bytes() for path in options.audio] or [bytes(2 * 51_200)]
    generator = Generator([predict_request(wav, options.transcript) for wav in wavs], options.cpus)
    if options.self_test or options.url is None:
        rate, size = generator.ceiling_rps, len(wavs[0])
        print(f"The generator reaches {rate:.0f} requests per second with {size} bytes of audio each.")
    else:
        url = urlsplit(options.url)
        address = (url.hostname or "127.0.0.1", url.port or 80)
        if options.rate:
            result = generator.open(address, options.rate, options.seconds)
        else:
            result = generator.closed(address, options.concurrency, options.seconds)
        print(json.dumps(asdict(result), indent=2))
    generator.close()


if __name__ == "__main__":
    main()
