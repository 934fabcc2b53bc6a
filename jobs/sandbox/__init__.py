"""A local Cekura, for rehearsal, the demo and the tests: a foreign service, so it shares no code with our client."""
