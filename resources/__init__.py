"""How to reach the catalog, Spark and the landing zone. Knows how, not what: imports third parties only."""
