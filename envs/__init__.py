"""Where code runs: machines, GPUs, environments, sessions and runs. Nothing here imports torch."""
