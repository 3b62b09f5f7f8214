import numpy as np
from numpy.typing import NDArray

class FeatureExtractor:
    mel_filters: NDArray[np.float32]
    def __call__(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]: ...
