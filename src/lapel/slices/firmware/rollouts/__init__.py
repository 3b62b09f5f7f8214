"""Rollouts: stages, the halt when too many updates fail, and the sweep of late assignments and orphans."""
