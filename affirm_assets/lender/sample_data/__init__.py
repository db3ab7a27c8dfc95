"""Landing files of a lender that does not exist: deterministic, of any size, with the flaws that real feeds have.

The order of reading: `generate` writes; `loans` and `repayment` decide what happened; `oddities` what went wrong on the
way; `files` knows the landing zone. Nothing in here is read by a dataset.
"""

from affirm_assets.lender.sample_data.business import BUSINESS_FILE, Business
from affirm_assets.lender.sample_data.files import FEEDS
from affirm_assets.lender.sample_data.generate import SampleSummary, write_sample_data
from affirm_assets.lender.sample_data.oddities import Fate, OddityCount

__all__ = ["BUSINESS_FILE", "FEEDS", "Business", "Fate", "OddityCount", "SampleSummary", "write_sample_data"]
