"""What the lender's datasets share: how feeds are read, the rules of the books, sample files. No session."""
