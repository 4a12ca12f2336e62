"""Light curve -> the arrays a graph takes: the one preprocessing, used in training and in serving alike.

A preprocessing is a function `(light_curve, parameters) -> {input name: array}` without a batch axis; arrays of equal
shape may be stacked along a new first axis. `PREPROCESSINGS` lists them by the id that stands in a bundle's manifest.
"""
