"""The experiments of "Dirichlet Pruning for Neural Network Compression", run again."""
