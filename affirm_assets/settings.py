"""What the environment may set. Read in one place, so that a wrong value is an error before anything starts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from affirm_assets.errors import SettingError
from affirm_assets.partitions import iso_date

DEPLOYMENTS = ("local",)

_NO_PLAIN_LOCATION = re.compile(r"[#?%\x00-\x1f\x7f]")
"""Tables name their files by location, file://<path>: PyIceberg and SQLAlchemy read these characters as parts of a URI,
Hadoop reads them as they are, and so no way to write them is understood by all."""


@dataclass(frozen=True)
class Settings:
    """`lake`: absolute folder of the local lake. `first_business_date`: the first day that has a partition."""

    deployment: str
    lake: Path
    first_business_date: date

    @staticmethod
    def of(environ: Mapping[str, str]) -> "Settings":
        """From AFFIRM_DEPLOYMENT, AFFIRM_LAKE and AFFIRM_FIRST_BUSINESS_DATE. Raises SettingError."""
        deployment = environ.get("AFFIRM_DEPLOYMENT") or "local"
        if deployment not in DEPLOYMENTS:
            raise SettingError("AFFIRM_DEPLOYMENT", deployment, f"one of {', '.join(DEPLOYMENTS)}")
        first = environ.get("AFFIRM_FIRST_BUSINESS_DATE") or "2025-01-01"
        try:
            first_business_date = iso_date(first)
        except ValueError:
            raise SettingError("AFFIRM_FIRST_BUSINESS_DATE", first, "a date YYYY-MM-DD") from None
        lake = Path(environ.get("AFFIRM_LAKE") or ".lake").expanduser().absolute()
        if _NO_PLAIN_LOCATION.search(str(lake)):
            raise SettingError(
                "AFFIRM_LAKE", str(lake), "a folder whose whole path has no #, ?, % or control character"
            )
        return Settings(deployment, lake, first_business_date)

    @property
    def catalog_database(self) -> Path:
        return self.lake / "catalog.db"

    @property
    def warehouse(self) -> Path:
        return self.lake / "warehouse"

    @property
    def landing(self) -> Path:
        return self.lake / "landing"
