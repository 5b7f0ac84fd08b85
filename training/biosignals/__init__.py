"""The analysis of KEMDy20 without training: are its biosignals usable, and do arousal and valence differ by emotion?"""
