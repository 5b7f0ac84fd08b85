"""What the report's words mean, for a reader who knows none of them."""

from ..metrics import DRAWS

GLOSSARY = {
    "n": "How many utterances a figure was computed from, all at once; it is never an average over batches.",
    "95 % interval": (
        "In brackets: roughly where the figure would lie with other speakers like these. The speakers were drawn anew "
        f"{DRAWS:,} times, each time with all that they said, and the middle 95 % of the results are shown. Where too "
        "few speakers are known, sessions (s: recordings, films) were drawn, else single utterances (u). An interval "
        "marked s or u says nothing about other speakers. Of few speakers or utterances the interval itself is rough "
        "and rather too narrow; one of no width, as of an emotion that was never found, is no certainty."
    ),
    "Always …, the baseline": (
        "What an answer without any model would score: always the emotion that is commonest in these very utterances, "
        "or always their mean. A figure whose interval reaches the baseline has not been shown to beat it."
    ),
    "accuracy": (
        "Share of right answers. Where most of a corpus is neutral, always answering neutral is right most of the time "
        "too, so accuracy says little without the baseline beside it."
    ),
    "weighted F1": "F1 averaged by how often each emotion occurs. Like accuracy it follows the commonest emotion.",
    "macro F1": (
        "F1 averaged with every emotion counting the same. F1 of an emotion is high only where it is found when it is "
        "there and not claimed when it is not."
    ),
    "UAR": "Unweighted average recall: the mean of the recalls, every emotion counting the same.",
    "recall": "Of the utterances of one emotion, the share that was answered with it.",
    "confidence, ECE": (
        "The model's own probability of its answer, and how far it lies from the share of answers that are right, on "
        "average (15 bins). 0 is best: of the answers given with 70 %, 70 % are right. Chance alone makes it larger, "
        "the more so the fewer utterances there are, and redrawing them would too: so it has no interval."
    ),
    "temperature": (
        "What the classifier's outputs are divided by, fitted on validation utterances: one each for the voice alone, "
        "the words alone and both. Over 1 it makes the model less sure, under 1 surer. It changes confidence and never "
        "the answer. 1 means as trained."
    ),
    "CCC": (
        "Concordance with the true scores: 1 is exact, 0 no better than always answering the mean. Unlike Pearson it "
        "falls when answers are too high, too low, or all too near the middle."
    ),
    "Pearson": "Whether answers rise and fall with the true scores, -1 to 1, whatever their level and spread.",
    "RMSE": "The typical error, on the scale of 1 to 5. A model must undercut that of always answering the mean.",
    "AUC": (
        "Take one angry or happy voice and one sad or neutral one: how often the first gets the higher arousal. 0.5 is "
        "chance, 1 always."
    ),
}
