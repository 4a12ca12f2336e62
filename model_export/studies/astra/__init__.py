"""Astra-CLR as published (arXiv:2606.31627): network, views, training, and the authors' weights."""
