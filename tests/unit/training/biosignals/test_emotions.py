"""The tests of arousal and valence against examples computed elsewhere."""

import numpy as np
import pytest
from scipy import stats

from training.biosignals.conclusions import on_emotions
from training.biosignals.emotions import Comparison, compare

# Pain threshold by hair colour, the example of McClave and Dietterich (1991) that JMP and Pingouin document. The
# figures below are Pingouin's 0.7; Games-Howell is Pingouin's but for the sign of its pairs.
PAIN = {
    "neutral": [62, 60, 71, 55, 48],
    "sad": [63, 57, 52, 41, 43],
    "happy": [42, 50, 41, 37],
    "surprise": [32, 39, 51, 30, 35],
}
LABELLED = [(emotion, float(value)) for emotion, values in PAIN.items() for value in values]


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare("arousal", LABELLED)


def test_welch_anova_of_the_textbook_example(comparison: Comparison) -> None:
    assert comparison.welch is not None
    assert comparison.welch.statistic == pytest.approx(5.89011481)
    assert comparison.welch.df == 3
    assert comparison.welch.df_error == pytest.approx(8.3298407)
    assert comparison.welch.p == pytest.approx(0.01881303, rel=1e-6)
    assert comparison.eta_squared == pytest.approx(0.5759624)
    assert comparison.omega_squared == pytest.approx(3 * 4.89011481 / (3 * 4.89011481 + 19))


def test_tests_of_variance_of_the_textbook_example(comparison: Comparison) -> None:
    assert comparison.levene is not None
    assert comparison.bartlett is not None
    assert comparison.levene.statistic == pytest.approx(0.39274322)
    assert comparison.levene.p == pytest.approx(0.76001613)
    assert (comparison.levene.df, comparison.levene.df_error) == (3, 15)
    assert comparison.bartlett.statistic == pytest.approx(0.83260073)
    assert comparison.bartlett.p == pytest.approx(0.84165452)


@pytest.mark.parametrize(
    ("first", "second", "difference", "t", "df", "p"),
    [
        ("neutral", "sad", 8.0, 1.41910013, 7.94266943, 0.52284373),
        ("neutral", "happy", 16.7, 3.56396366, 6.77208938, 0.03777504),
        ("neutral", "surprise", 21.8, 4.09069711, 7.99541624, 0.01476869),
        ("sad", "happy", 8.7, 1.75207249, 6.56250966, 0.37149742),
        ("sad", "surprise", 13.8, 2.47456515, 7.90660945, 0.14008452),
        ("happy", "surprise", 5.1, 1.10565181, 6.82177223, 0.69800024),
    ],
)
def test_games_howell_of_the_textbook_example(
    comparison: Comparison, first: str, second: str, difference: float, t: float, df: float, p: float
) -> None:
    (pair,) = [pair for pair in comparison.pairs if (pair.first, pair.second) == (first, second)]
    assert (pair.difference, pair.t, pair.df) == pytest.approx((difference, t, df))
    assert pair.p == pytest.approx(p, abs=1e-5)
    assert (pair.interval[0] <= 0 <= pair.interval[1]) == (pair.p >= 0.05)


def test_the_intervals_are_those_of_scipy() -> None:
    samples = [PAIN[emotion] for emotion in ("neutral", "sad", "happy")]
    pairs = compare("arousal", [one for one in LABELLED if one[0] != "surprise"]).pairs
    expected = stats.tukey_hsd(*samples, equal_var=False).confidence_interval(0.95)
    assert [pair.interval for pair in pairs] == [
        pytest.approx((expected.low[first, second], expected.high[first, second]))
        for first, second in ((0, 1), (0, 2), (1, 2))
    ]


def test_welchs_p_belongs_to_its_degrees_of_freedom(comparison: Comparison) -> None:
    welch = comparison.welch
    assert welch is not None
    assert stats.f.sf(welch.statistic, welch.df, welch.df_error) == pytest.approx(welch.p)


def test_a_group_has_its_mean_deviation_and_interval(comparison: Comparison) -> None:
    group = comparison.groups[0]
    assert (group.emotion, group.n, group.mean) == ("neutral", 5, 59.2)
    assert group.sd == pytest.approx(np.std(PAIN["neutral"], ddof=1))
    assert group.interval == pytest.approx(tuple(59.2 + sign * 2.776445 * group.sd / 5**0.5 for sign in (-1, 1)))


def test_emotions_that_cannot_be_tested_are_named() -> None:
    labelled = [("sad", 2.0), ("sad", 2.4), ("sad", 2.2), ("happy", 3.0), ("happy", 3.5), ("happy", 3.6)]
    equal = [("angry", 3.0), ("angry", 3.0), ("angry", 3.0)]
    comparison = compare("arousal", [*labelled, *equal, ("surprise", 3.1)])
    assert comparison.untested == ["neutral", "surprise", "angry"]
    assert [(group.emotion, group.n) for group in comparison.groups] == [
        ("sad", 3),
        ("happy", 3),
        ("surprise", 1),
        ("angry", 3),
    ]
    assert comparison.welch == compare("arousal", labelled).welch
    assert "Not tested, for too few utterances or equal ratings: neutral, surprise, angry." in on_emotions(comparison)


@pytest.mark.parametrize("labelled", [[], [("sad", 2.0)], [("sad", 2.0 + n / 10) for n in range(5)]])
def test_fewer_than_two_emotions_give_no_test(labelled: list[tuple[str, float]]) -> None:
    comparison = compare("valence", labelled)
    assert comparison.welch is None
    assert comparison.pairs == ()
    assert "nothing can be tested" in on_emotions(comparison)


def test_values_that_leave_levene_undefined() -> None:
    labelled = [(emotion, value) for emotion in ("sad", "happy") for value in (2.0, 2.0, 4.0, 4.0)]
    comparison = compare("valence", labelled)
    assert comparison.levene is None
    assert comparison.welch is not None
    assert "Levene" not in on_emotions(comparison)


def test_the_conclusion_says_whether_a_difference_is_shown() -> None:
    rng = np.random.default_rng(0)
    same = [(emotion, float(value)) for emotion in ("sad", "happy") for value in rng.normal(3, 0.5, 40)]
    apart = [(emotion, value + (emotion == "happy")) for emotion, value in same]
    assert on_emotions(compare("valence", same)).startswith("No difference in valence between the emotions is shown")
    sentence = on_emotions(compare("valence", apart))
    assert sentence.startswith("Mean valence differs between the emotions (Welch F(1, ")
    assert "1 of 1 pair differs, happy above sad" in sentence
