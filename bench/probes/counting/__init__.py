"""Counting below every interface: dispatch counters, replay of a step's memory, autocast."""
