"""The container's health check: exits with 0 if /health/ready answers 200."""

import http.client
import os
import sys

# http.client ignores proxy variables. localhost is IPv4, and IPv6 where MAEUM_HOST has only that.
connection = http.client.HTTPConnection("localhost", int(os.environ["MAEUM_PORT"]), timeout=4)
try:
    connection.request("GET", "/health/ready")
    sys.exit(connection.getresponse().status != 200)
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"No answer: {error}")
