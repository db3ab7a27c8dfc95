"""Where a deployment's tables and files lie. Not in definitions.py, for which a command would have to wait."""

from affirm_assets.settings import Settings
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone


def catalog_of(settings: Settings) -> IcebergCatalog:
    return IcebergCatalog(
        uri=settings.catalog_uri,
        warehouse=settings.warehouse,
        region=settings.region,
        s3_endpoint=settings.s3_endpoint,
    )


def landing_zone_of(settings: Settings) -> LandingZone:
    return LandingZone(settings.landing, settings.region, settings.s3_endpoint)
