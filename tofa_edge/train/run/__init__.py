"""How a training runs: loop, phases, checkpoints, early stopping, logs, time estimate."""
