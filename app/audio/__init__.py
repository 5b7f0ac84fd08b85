"""An audio file to mono 16 kHz; files of strangers are decoded in processes of their own."""
