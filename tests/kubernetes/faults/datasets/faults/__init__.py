"""Tables of ROWS rows a day, if they get that far."""
