"""Benchmarks: each figure beside a baseline of the same run, since machines differ. `make bench` prints JSON."""
