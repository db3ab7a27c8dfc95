"""The lender's datasets: one file is one table, in a folder for each domain. The folder is walked; no list is kept."""
