from ctranslate2 import StorageView

class Whisper:
    is_multilingual: bool
    n_mels: int
    def detect_language(self, features: StorageView) -> list[list[tuple[str, float]]]: ...
