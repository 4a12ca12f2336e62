"""Synthetic sky: real-schema alert packets of simulated objects, for demonstrations, load and tests. Never evidence."""

from service.simulate.population import BALANCED, STREAM
from service.simulate.sky import SimulatedAlert, Sky, simulate, write_packets

__all__ = ["BALANCED", "STREAM", "SimulatedAlert", "Sky", "simulate", "write_packets"]
