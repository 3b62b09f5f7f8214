"""The shipped evaluation set: written conversations, questions with known answers, and planted attacks.

It judges search, answers and summaries. All of it is fiction written for this purpose; docs/evaluation.md
describes it. This package only reads files: it imports nothing else of Lapel.
"""
