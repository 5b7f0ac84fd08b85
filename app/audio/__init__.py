"""A file to mono 16 kHz, in processes of their own where strangers send it."""
