"""What a user of `maeum-train` can be told in a sentence: the base of each error that a command ends on."""


class TrainingError(Exception):
    """`str(error)` says what is wrong, where, and what to do about it."""
