"""How the raw records of a feed become typed rows or refusals: pure frame -> frame functions, no session, no files."""
