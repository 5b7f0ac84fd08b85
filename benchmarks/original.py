"""Times the same networks as the original code ran them: torch, eager, float32, always padded to full length.

    python -m benchmarks.original --preset paper --batch 1

Full length is 512 frames and 64 tokens: --seconds, --tokens and --mix change nothing. The utterances here are that long
instead of padded, which computes and costs the same. The front-end is ours, in torch; the original's, librosa's, is not
timed. Threads default to the physical cores.
"""

import argparse
import json
from functools import partial

import torch
from torch import Tensor

from app.engine.load import physical_cores
from training.networks.files import load_weights
from training.networks.networks import Networks

from .harness.turns import Turn, serve_turns, take, warm_up
from .workload.case import Case, Preset, add_options, read
from .workload.lengths import MAX_FRAMES, MAX_TOKENS, make, of_frames
from .workload.options import version
from .workload.paper import rule_made_networks


def main() -> None:
    """Times the original and prints its rate; as a worker of `engine.py` it serves turns."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_options(parser)
    parser.add_argument(
        "--for", type=float, default=5.0, dest="seconds_in_all", metavar="S", help="seconds to time (default: 5)"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    case = read(options)
    torch.set_num_threads(case.threads or physical_cores())
    networks = load(case.preset).to(case.provider)
    inputs = [part.to(case.provider) for part in padded(case, int(networks.text.encoder.config.vocab_size))]
    calls = [partial(forward, networks, *inputs)]
    if options.worker:
        serve_turns(calls)
        return
    warm_up(calls)
    durations = take(Turn(options.seconds_in_all), calls)
    print(json.dumps({"utterances_per_s": len(durations) * case.batch / sum(durations)}))


def load(preset: Preset) -> Networks:
    """The networks of the `paper` preset with rule-made weights, or those of the newest starter."""
    if preset == "paper":
        return rule_made_networks()
    folder, _ = version(Case(preset).settings())
    return load_weights(folder).eval()


def padded(case: Case, vocabulary: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Waveforms [batch, samples], their lengths, token ids [batch, tokens] and attention mask, all of full length."""
    utterances = [make(of_frames(MAX_FRAMES).seconds, MAX_TOKENS, vocabulary, seed) for seed in range(case.batch)]
    waveform = torch.stack([torch.from_numpy(item.waveform) for item in utterances])
    ids = torch.stack([torch.from_numpy(item.input_ids) for item in utterances])
    return waveform, torch.full((case.batch,), waveform.shape[1]), ids, torch.ones_like(ids)


@torch.no_grad()
def forward(networks: Networks, waveform: Tensor, length: Tensor, ids: Tensor, mask: Tensor) -> list[float]:
    """Arousal, valence and logits, copied back from the device, which a caller would have to do too."""
    arousal, audio_embedding, audio_mask = networks.audio(waveform, length)
    valence, text_embedding = networks.text(ids, mask)
    logits = networks.emotion(audio_embedding, audio_mask, text_embedding, mask.bool())
    found: list[float] = torch.cat((arousal, valence, logits.flatten())).tolist()
    return found


if __name__ == "__main__":
    main()
