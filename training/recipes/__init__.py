"""Whole ways from data to a version, each one command."""
