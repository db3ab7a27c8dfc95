"""Rules of books that carry balances from day to day: pure frame -> frame functions, no session, no files."""
