"""`affirm replay`: compute again what a run published, from its recorded requests, and compare the rows."""
