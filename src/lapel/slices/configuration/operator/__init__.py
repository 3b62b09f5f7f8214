"""The configuration of organizations, which the operator changes on the command line."""
