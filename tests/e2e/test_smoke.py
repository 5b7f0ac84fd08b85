"""`maeum-train smoke` goes the whole way: corpus, three stages, export, answer."""

import json
import subprocess
import sys
from pathlib import Path


def test_smoke() -> None:
    command = [Path(sys.executable).with_name("maeum-train"), "smoke"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout[done.stdout.index("{") :])
    assert 1 <= answer["arousal"] <= 5
    assert 1 <= answer["valence"] <= 5
    assert abs(sum(answer["emotion"]["probabilities"].values()) - 1) < 1e-3
    assert answer["modalities"] == ["audio", "text"]
