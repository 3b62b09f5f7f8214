"""Our own S3 endpoint over a folder."""

from lapel.foundation.storage.embedded.app import StoreApp, create_store_app

__all__ = ["StoreApp", "create_store_app"]
