"""What an error keeps on its way from one process to another."""

import pickle

from affirm_assets.errors import AffirmError, NotProven, SettingsMissing


def test_an_error_is_the_same_after_it_was_pickled() -> None:
    errors: list[AffirmError] = [
        NotProven("m / 0", "this function is not proven", ["decimal(18,2)"], "here.py:7"),
        SettingsMissing("kubernetes", {"AWS_REGION": "of the buckets"}),
        AffirmError("plain"),
    ]
    for error in errors:
        found = pickle.loads(pickle.dumps(error))
        assert type(found) is type(error)
        assert str(found) == str(error)
        assert found.args == error.args
        assert found.__dict__ == error.__dict__
