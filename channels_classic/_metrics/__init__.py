"""Metrics for Prometheus: their catalogue, how several processes are combined, and the port where they are read.

Nothing runs here between scrapes: programs count in plain numbers, and each scrape makes samples of them.
"""
