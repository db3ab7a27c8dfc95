"""Comparisons for the audits of any dataset: pure frame -> frame functions, no session, no files."""
