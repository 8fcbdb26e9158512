"""Segmenting files: finding cases, reading them, and writing labels, tables and pictures."""
