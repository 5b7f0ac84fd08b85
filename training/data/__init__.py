"""An utterance of a corpus, read, augmented and put into batches."""
