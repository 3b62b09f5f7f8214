"""The settings of organizations, as the operator changes them on the command line."""
