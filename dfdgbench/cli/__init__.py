"""The command line: one module a command, and the only place that prints. Importing this package imports nothing heavy."""
