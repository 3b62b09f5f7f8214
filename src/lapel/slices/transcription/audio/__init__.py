"""From any accepted file to samples: decode, probe, waveform, cuts at silences."""
