"""The app on a phone that uploads what a device has sealed. It never has the key of a recording."""
