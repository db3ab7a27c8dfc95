"""`affirm export`: a partition of a report as a file that somebody else reads, with its control totals.

report says what is exported, spill brings its rows in order, formats are the files, run puts them where they belong.
"""
