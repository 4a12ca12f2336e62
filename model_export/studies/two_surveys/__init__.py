"""Is a light curve of two surveys worth more than that of one? (arXiv:2507.11711, simulated objects)"""
