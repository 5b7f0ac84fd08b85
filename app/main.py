"""`app`, for FastAPI's own commands: `fastapi dev app/main.py`, `fastapi run app/main.py`, `uvicorn app.main:app`.

They lack what `maeum serve` adds: bounds on connections and headers, a drain before the end, a log line per request,
and the refusal to listen without keys where other machines reach the service. `fastapi run` listens on every address.
"""

import logging

from .web.api import create_app

logging.getLogger(__name__).warning(
    "This server does not bound connections, and asks for keys only where MAEUM_KEYS_FILE is set; "
    "`maeum serve` guards both."
)

app = create_app()
