"""Where models lie, and what they say of themselves."""
