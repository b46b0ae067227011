"""The training loop and what it leaves behind: checkpoints, metrics, facts of the machine."""
