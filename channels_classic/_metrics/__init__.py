"""Metrics for Prometheus: which there are, how those of several processes become one, and where they are read.

Nothing here runs before somebody asks: programs count in plain numbers, from which samples are made for each scrape.
"""
