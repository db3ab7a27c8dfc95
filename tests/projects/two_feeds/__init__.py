"""Two feeds and what is made of them: small, so that tests of sensors and daemons are fast."""
