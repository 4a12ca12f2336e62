"""The project's figures, each a command: `python -m benchmarks.NAME [PATH]` prints a table and, last, a line of JSON."""
