"""Firmware: releases, offers to devices, and rollouts."""
