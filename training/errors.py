"""The base of every error that a command of `maeum-train` reports in a sentence."""


class TrainingError(Exception):
    """`str(error)` says what is wrong, where, and how to fix it."""
