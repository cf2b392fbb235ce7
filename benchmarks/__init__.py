"""Side-by-side measurements of batchpinv and its peers: `python -m benchmarks --help`."""
