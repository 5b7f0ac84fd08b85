"""The models, lengths and utterances that are timed.

case         the workload of the engine's benchmarks
subject      the workload of the service's benchmarks
options      the command line options that these two share
lengths      lengths of utterances, and utterances of such lengths for the engine
spoken       the same as WAV files and transcripts, for the service
paper        a version with the published sizes, and weights made by a rule
"""
