"""Compares the service with LitServe, BentoML and Ray Serve: the same graphs, threads, utterances and load.

Each peer runs with its own batching and without, and must first give the same answers as ours. One service runs at a
time, ours and a peer in turn, each started anew; figures are medians over the turns. The open loop offers every service
the same load: 70 % of what ours can do.

    python -m benchmarks.compare [--mix 32] [--only litserve] [--save peers]

The first run installs each peer into `benchmarks/.venvs/` with pip.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .harness.client import Address, Connection
from .harness.frameworks import PEERS, Batching, Peer
from .harness.load import Generator, Result
from .harness.machine import save
from .harness.processes import Service
from .workload import subject
from .workload.subject import Subject

CONCURRENCY = (1, 4, 16)
OPEN_SHARE = 0.7
TOLERANCE = 1e-3

Answer = dict[str, Any]
Turns = dict[tuple[str, str], list["Turn"]]


@dataclass
class Turn:
    """The measurements of one service between start and stop. `memory_mb`: all its processes, after the load."""

    start_s: float
    closed: dict[int, Result] = field(default_factory=dict)
    open: Result | None = None
    memory_mb: float = 0.0

    @property
    def best_rps(self) -> float:
        return max(result.throughput_rps for result in self.closed.values())


class Comparison:
    """Takes turns over one subject with one load generator."""

    def __init__(self, what: Subject, passes: int, open_s: float) -> None:
        self._what, self._passes, self._open_s = what, passes, open_s
        self._requests = [one.request() for one in what.spoken]
        self._generator = Generator(self._requests)
        self._ours: list[Answer] = []
        self._rate = 0.0

    def turn(self, start: Callable[[Path], Service]) -> Turn:
        """Starts, checks, loads and stops a service, first ours. Raises ValueError if answers differ from ours."""
        # The paths of Ray's sockets, which lie in this folder, must be short.
        with tempfile.TemporaryDirectory(prefix="b", ignore_cleanup_errors=True) as folder, start(Path(folder)) as one:
            done = Turn(one.wait(self._requests[0]))
            answers = asyncio.run(_answers(one.address, self._requests))
            self._ours = self._ours or answers
            if (difference := max(map(_difference, self._ours, answers))) > TOLERANCE:
                raise ValueError(
                    f"Its answers differ from ours by {difference:.4f}: the comparison would mean nothing."
                )
            self._generator.closed(one.address, max(CONCURRENCY), total=2 * len(self._requests))  # warms it up
            for concurrency in CONCURRENCY:
                total = self._passes * len(self._requests)
                done.closed[concurrency] = self._generator.closed(one.address, concurrency, total=total)
            self._rate = self._rate or OPEN_SHARE * done.best_rps
            done.open = self._generator.open(one.address, self._rate, self._open_s)
            done.memory_mb = one.memory()["tree"]
        return done

    def close(self) -> None:
        self._generator.close()


def compare(what: Subject, peers: Sequence[Peer], variants: Sequence[Batching], options: argparse.Namespace) -> Turns:
    """All turns by service and batching. Ours takes a turn before each turn of a peer."""
    turns: Turns = defaultdict(list)
    comparison = Comparison(what, options.passes, options.open_seconds)
    for _ in range(options.rounds):
        for peer in peers:
            for batching in variants:
                turns["maeum", "side by side"].append(comparison.turn(what.serve))
                start = _starter(peer, what, batching, options.peer_spinning)
                turns[peer.name, str(batching)].append(comparison.turn(start))
                print(f"{peer.name}, batching {batching}: {turns[peer.name, str(batching)][-1].best_rps}", flush=True)
    comparison.close()
    return turns


def _starter(peer: Peer, what: Subject, batching: Batching, spinning: bool) -> Callable[[Path], Service]:
    return lambda folder: peer.serve(what.folder, what.settings, folder, batching, spinning)


async def _answers(address: Address, requests: Sequence[bytes]) -> list[Answer]:
    """The answers to `requests`, one after the other."""
    answers = []
    for request in requests:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, *address)
        status = await connection.send(request)
        connection.close()
        if status != "200":
            raise ValueError(f"It answers {status}: {connection.body[:400]!r}")
        answers.append(json.loads(connection.body))
    return answers


def _difference(ours: Answer, theirs: Answer) -> float:
    """The largest difference between the scores and probabilities of two answers."""
    numbers = [(ours[name], theirs[name]) for name in ("arousal", "valence")]
    probabilities = theirs["emotion"]["probabilities"]
    numbers += [(value, probabilities[name]) for name, value in ours["emotion"]["probabilities"].items()]
    return max(abs(float(one) - float(other)) for one, other in numbers)


def rows(what: Subject, turns: Turns) -> Iterator[dict[str, object]]:
    """A row per service and batching; each run is the one of its median turn."""
    for (name, batching), own in turns.items():
        runs = {f"closed_{concurrency}": [turn.closed[concurrency] for turn in own] for concurrency in CONCURRENCY}
        runs["open"] = [turn.open for turn in own if turn.open is not None]
        yield {
            **what.describe(),
            "service": name,
            "batching": batching,
            "turns": len(own),
            "start_s": round(statistics.median(turn.start_s for turn in own), 2),
            "memory_mb": round(statistics.median(turn.memory_mb for turn in own), 1),
            **{run: asdict(_middle(results)) for run, results in runs.items()},
        }


def _middle(results: Sequence[Result]) -> Result:
    """The median result: by throughput in the closed loop; in the open one, where that is the same for all, by p99."""
    key = (lambda one: one.throughput_rps) if results[0].loop == "closed" else (lambda one: one.p99_ms or 0.0)
    return sorted(results, key=key)[len(results) // 2]


def table(measured: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table; latencies in ms."""
    head = ["service", "batching", *(f"{n} at once: req/s, p50, p99" for n in CONCURRENCY), "open loop: p50, p99"]
    lines = [[*head, "memory, MB", "start, s"]]
    for row in measured:
        closed = [row[f"closed_{concurrency}"] for concurrency in CONCURRENCY]
        cells = [f"{run['throughput_rps']:.1f}, {_latencies(run)}" for run in closed] + [_latencies(row["open"])]
        lines.append([row["service"], row["batching"], *cells, f"{row['memory_mb']:.0f}", f"{row['start_s']:.1f}"])
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _latencies(run: dict[str, Any]) -> str:
    """p50 and p99 of the answers, and the number of requests without one."""
    failed = sum(number for status, number in run["statuses"].items() if status != "200")
    if run["p50_ms"] is None:
        return f"none of {failed} answered"
    return f"{run['p50_ms']:.0f}, {run['p99_ms']:.0f}" + (f" ({failed} not answered)" if failed else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    subject.add_options(parser)
    parser.add_argument(
        "--only",
        choices=[peer.name for peer in PEERS],
        action="append",
        help="compare with this peer only; may be repeated",
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of each peer (default: 3)")
    parser.add_argument("--passes", type=int, default=4, help="passes over the utterances in a closed run (default: 4)")
    parser.add_argument("--open-seconds", type=float, default=10.0, help="length of the open loop (default: 10)")
    parser.add_argument(
        "--max-batch", type=int, default=16, help="largest batch of the peers (default: 16, the same as ours)"
    )
    parser.add_argument(
        "--batch-wait-ms", type=float, default=5.0, help="batch timeout of the peers that have one (default: 5)"
    )
    parser.add_argument(
        "--peer-spinning", action="store_true", help="let the peers' operator threads spin while they wait"
    )
    parser.add_argument("--save", metavar="NAME", help="write results/NAME.json")
    options = parser.parse_args()
    what = subject.read(options)
    peers = [peer for peer in PEERS if not options.only or peer.name in options.only]
    for peer in peers:
        peer.install()
    variants = (Batching(1, 0.0), Batching(options.max_batch, options.batch_wait_ms / 1000))
    measured = list(rows(what, compare(what, peers, variants, options)))
    print(table(measured))
    if options.save:
        print(save(options.save, measured))


if __name__ == "__main__":
    main()
