"""Evaluations: features of a frozen backbone, and what they are worth."""
