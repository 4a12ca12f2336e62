"""The figures of the project as commands: `python -m benchmarks.NAME [PATH]` prints a table, then a line of JSON."""
