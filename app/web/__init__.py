"""HTTP: routes, what surrounds them, and the process that serves them."""
