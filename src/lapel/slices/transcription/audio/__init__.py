"""Turns accepted files into samples: decoding, facts, waveform, and cuts at silences."""
