"""One class for each way in which an auditor's command cannot answer.

Not in affirm_assets.errors: datasets import that, and another code version of all of them would follow.
"""

from affirm_assets.errors import AffirmError


class NothingToVerify(AffirmError):
    """A lake without a table that `affirm verify` is of, or without a day that all of them have."""
