"""A run: its stages, what each minimises, and how a broken one goes on."""
