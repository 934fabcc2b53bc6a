"""`make bench`: every benchmark, one after the other. Only ratios within one run mean anything."""

from __future__ import annotations

from . import growth, makespan

if __name__ == "__main__":
    makespan.main()
    growth.main(["--largest", "10000000"])
