"""The glossary of the report, for a reader who knows none of its terms."""

from ..metrics import DRAWS

GLOSSARY = {
    "n": "The number of utterances behind a figure, computed from all at once; never an average over batches.",
    "95 % interval": (
        "In brackets: roughly where the figure would lie with other speakers like these. The speakers were resampled "
        f"{DRAWS:,} times, each with all their utterances, and the brackets hold the middle 95 % of the results. Where "
        "too few speakers are known, sessions (s: recordings, films) were resampled, else single utterances (u). An "
        "interval marked s or u says nothing about other speakers. With few speakers or utterances the interval itself "
        "is rough and rather too narrow; zero width, as for an emotion that was never found, does not mean certainty."
    ),
    "Always …, the baseline": (
        "The score of a constant answer, without a model: always the emotion that is commonest in these very "
        "utterances, or always their mean. A figure whose interval reaches the baseline has not been shown to beat it."
    ),
    "accuracy": (
        "Share of right answers. Where most of a corpus is neutral, always answering neutral is right most of the time "
        "too, so compare accuracy with the baseline."
    ),
    "weighted F1": "F1 averaged by how often each emotion occurs. Like accuracy it follows the commonest emotion.",
    "macro F1": (
        "Mean F1, every emotion counting the same. The F1 of an emotion is high only if it is found where it occurs "
        "and not answered where it does not."
    ),
    "UAR": "Unweighted average recall: the mean of the recalls, every emotion counting the same.",
    "recall": "The share of the utterances of one emotion that was answered with it.",
    "confidence, ECE": (
        "Confidence is the model's own probability of its answer. ECE is its mean distance from the share of right "
        "answers (15 bins). 0 is best: 70 % of the answers given with 70 % are right. Chance alone makes it larger, "
        "the more so with fewer utterances, and so would resampling: it has no interval."
    ),
    "temperature": (
        "The divisor of the classifier's logits, fitted on validation utterances: one each for audio alone, text alone "
        "and both. Over 1 it lowers confidence, under 1 it raises it. It never changes the answer. 1 means as trained."
    ),
    "CCC": (
        "Concordance with the true scores: 1 is exact, 0 is no better than always answering the mean. Unlike Pearson "
        "it falls when answers are too high, too low, or all too near the middle."
    ),
    "Pearson": "Whether answers rise and fall with the true scores, -1 to 1, whatever their level and spread.",
    "RMSE": "The typical error, on the scale of 1 to 5. It has to be below that of always answering the mean.",
    "AUC": (
        "Take one angry or happy clip and one sad or neutral clip: the share of such pairs in which the first gets the "
        "higher arousal. 0.5 is chance, 1 always."
    ),
}
