"""One file per operator; each has `BENCHMARKS`, a list of `harness.Benchmark`."""
