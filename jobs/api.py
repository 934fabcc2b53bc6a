"""Where Cekura's API is, and which header carries the key (seed documents, `securitySchemes`)."""

from __future__ import annotations

ORIGIN = "https://api.cekura.ai"
KEY_HEADER = "X-CEKURA-API-KEY"
BASE = "/test_framework/v1"  # v2 has the same shapes (the vendor's public OpenAPI)
RUNS_IN_BULK = f"{BASE}/runs/bulk/"
RESULTS = f"{BASE}/results/"  # with the trailing slash: the backend does not append it
