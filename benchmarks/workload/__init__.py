"""What is timed.

lengths      how long utterances are, and utterances of such lengths for the engine
spoken       the same as WAV files and transcripts, for the service
paper        a version of the published sizes, with weights made by a rule
case         what the engine is timed on
subject      what the service is timed on
options      the options that these two share
"""
