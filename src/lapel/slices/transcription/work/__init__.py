"""The work on an audio: leases, steps, and the stages that they run."""
