"""Rubin Observatory's alerts (LSST), packet versions 7.0 to 11.1, and the simulated ones of the ELAsTiCC challenge."""
