"""Rollouts: their offers, the halt when too many updates fail, and the sweeps of late updates and orphans."""
