"""Crossed pairs: each kind has the answer that a person would give."""

from training.data.utterance import Utterance
from training.evaluation.crossed import KINDS, PER_CLIP, crossed_pairs

EMOTIONS = ("neutral", "sad", "happy", "angry")


def test_pairs_join_a_voice_with_words_that_it_never_spoke() -> None:
    clips = [Utterance(id=f"c-{e}", corpus="v", transcript="제 말", emotion=e, speaker="s") for e in EMOTIONS]
    texts = [
        Utterance(id=f"t{k}-{e}", corpus="t", transcript=f"{e} {k}", emotion=e)
        for e in (*EMOTIONS, "surprise", None)
        for k in range(7)
    ]
    pairs = crossed_pairs(clips, texts, "neutral")
    words, voice, same = (pairs[kind] for kind in KINDS)
    assert len(words) == PER_CLIP and len(voice) == len(same) == 3 * PER_CLIP
    for pair in words:
        assert pair.id.startswith("c-neutral+") and pair.emotion != "neutral"
        assert pair.transcript is not None and pair.transcript.split()[0] == pair.emotion
    for pair in voice:
        assert pair.id.startswith(f"c-{pair.emotion}+") and (pair.transcript or "").startswith("neutral ")
    for pair in same:
        assert pair.id.startswith(f"c-{pair.emotion}+") and (pair.transcript or "").startswith(f"{pair.emotion} ")
    assert all(pair.speaker == "s" for kind in KINDS for pair in pairs[kind])
    assert crossed_pairs(clips, texts, "neutral") == pairs
