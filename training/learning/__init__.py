"""A run: its stages, their losses, and how an interrupted one resumes."""
