"""The modules that every slice uses. They import no slice."""
