"""HTTP: routes, middleware, and the server process."""
