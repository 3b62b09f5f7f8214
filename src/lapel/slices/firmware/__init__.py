"""Firmware: releases, what each device is offered, and rollouts."""
