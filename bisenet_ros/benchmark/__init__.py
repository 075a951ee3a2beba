"""Benchmark of engines on this machine, with comparable figures."""
