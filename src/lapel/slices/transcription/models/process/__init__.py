"""The process of the models, and its client."""
