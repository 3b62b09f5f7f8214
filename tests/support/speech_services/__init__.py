"""Remote speech services as their makers specify them (July to November 2026), on a port of this machine.

Nothing here knows Lapel: each service takes what its specification allows, refuses the rest in the maker's
own form of error, and answers in the maker's shapes. What a service would silently ignore, or has
deprecated, is a complaint that the test sees at its end.
"""
