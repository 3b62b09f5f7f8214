"""What every slice stands on. It knows no slice."""
