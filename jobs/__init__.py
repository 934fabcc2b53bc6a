"""All that knows Cekura: its API, the kinds of job, the sandbox, example specs and the command line."""
