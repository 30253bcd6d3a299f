"""What keeps a run from being lost: checkpoints, resume, guards, preemption, the run folder."""
