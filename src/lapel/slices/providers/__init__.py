"""Providers: the names that clients ask for (slots), the engines behind them, and the calls of services."""
