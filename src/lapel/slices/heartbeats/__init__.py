"""Heartbeats: the reports of devices, answered with commands, firmware and the configuration's revision."""
