"""What the corpus says before any training: whether its biosignals can be used, and whether its labels differ."""
