"""Material for the tests: a tiny model version, sounds, encoded files, a synthetic corpus."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
