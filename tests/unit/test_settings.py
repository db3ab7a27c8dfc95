"""What the environment may set, and how a wrong value is refused."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import ClassVar

import pytest

from affirm_assets.errors import LakeFileError, SettingError, SettingsMissing
from affirm_assets.settings import DEPLOYMENTS, AlertSettings, MailSettings, Settings

SECRET = "hunter2"
KUBERNETES = {
    "AFFIRM_DEPLOYMENT": "kubernetes",
    "AFFIRM_FIRST_BUSINESS_DATE": "2025-03-01",
    "AFFIRM_CATALOG_URI": "postgresql+psycopg2://affirm@db.example.com:5432/lake",
    "AFFIRM_WAREHOUSE": "s3://books/warehouse",
    "AFFIRM_LANDING": "s3://incoming/landing/",
    "AWS_REGION": "eu-west-1",
    "PGPASSWORD": SECRET,
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": SECRET,
}


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.of({}) == Settings.local(tmp_path / ".lake", date(2025, 1, 1))


@pytest.mark.parametrize("name", ["AFFIRM_DEPLOYMENT", "AFFIRM_LAKE", "AFFIRM_FIRST_BUSINESS_DATE"])
def test_empty_value_is_the_default(name: str) -> None:
    assert Settings.of({name: ""}) == Settings.of({})


def test_a_restatement_is_of_a_local_deployment_whose_commands_carry_it() -> None:
    """On Kubernetes, runs that nobody meant would carry it, too."""
    carried = {"AFFIRM_RESTATEMENT": "R1"}
    assert Settings.of(carried).restatement == "R1"
    assert Settings.of({**KUBERNETES, **carried}).restatement == ""


def test_every_known_deployment_is_accepted() -> None:
    found = [Settings.of({**KUBERNETES, "AFFIRM_DEPLOYMENT": known}).deployment for known in DEPLOYMENTS]
    assert found == list(DEPLOYMENTS)


def test_lake_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.of({"AFFIRM_LAKE": "books/lake"}).lake == tmp_path / "books/lake"


def test_lake_says_where_its_partitions_begin(tmp_path: Path) -> None:
    (tmp_path / "first_business_date").write_text("2026-06-01\n")
    settings = Settings.of({"AFFIRM_LAKE": str(tmp_path)})
    assert (settings.first_business_date, settings.first_is_default) == (date(2026, 6, 1), False)


def test_the_environment_goes_before_what_the_lake_says(tmp_path: Path) -> None:
    (tmp_path / "first_business_date").write_text("2026-06-01\n")
    settings = Settings.of({"AFFIRM_LAKE": str(tmp_path), "AFFIRM_FIRST_BUSINESS_DATE": "2026-05-01"})
    assert (settings.first_business_date, settings.first_is_default) == (date(2026, 5, 1), False)


def test_where_nobody_says_it_that_is_known(tmp_path: Path) -> None:
    settings = Settings.of({"AFFIRM_LAKE": str(tmp_path)})
    assert (settings.first_business_date, settings.first_is_default) == (date(2025, 1, 1), True)


def test_a_lake_that_says_no_date_is_refused_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "first_business_date").write_text("the first of June\n")
    with pytest.raises(LakeFileError) as refused:
        Settings.of({"AFFIRM_LAKE": str(tmp_path)})
    assert f"{tmp_path}/first_business_date: expected a date YYYY-MM-DD; found 'the first of June'" in str(
        refused.value
    )


def test_lake_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings.of({"AFFIRM_LAKE": "~/lake"}).lake == tmp_path / "lake"


@pytest.mark.parametrize("name", ["a#b", "a?b", "a%20b", "a\nb"])
def test_lake_whose_path_the_engines_read_in_different_ways_is_refused(tmp_path: Path, name: str) -> None:
    lake = str(tmp_path / name / "lake")
    with pytest.raises(SettingError) as refused:
        Settings.of({"AFFIRM_LAKE": lake})
    assert "AFFIRM_LAKE: expected a folder whose whole path has no #, ?, %" in str(refused.value)
    assert f"found {lake!r}" in str(refused.value)


def test_lake_in_a_working_folder_of_such_a_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a#b").mkdir()
    monkeypatch.chdir(tmp_path / "a#b")
    with pytest.raises(SettingError, match="AFFIRM_LAKE: expected"):
        Settings.of({})


def test_first_business_date_is_read() -> None:
    assert Settings.of({"AFFIRM_FIRST_BUSINESS_DATE": "2024-02-29"}).first_business_date == date(2024, 2, 29)


def test_lake_holds_catalog_warehouse_and_landing() -> None:
    settings = Settings.of({"AFFIRM_LAKE": "/lake"})
    found = (settings.catalog_uri, settings.warehouse, settings.landing)
    assert found == ("sqlite:////lake/catalog.db", "file:///lake/warehouse", "/lake/landing")


@pytest.mark.parametrize("value", ["production", "Local", " local"], ids=["unknown", "other case", "blank before it"])
def test_unknown_deployment_lists_the_known(value: str) -> None:
    with pytest.raises(SettingError) as refused:
        Settings.of({"AFFIRM_DEPLOYMENT": value})
    assert f"AFFIRM_DEPLOYMENT: expected one of {', '.join(DEPLOYMENTS)}; found {value!r}." in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("yesterday", id="words"),
        pytest.param("2025-02-30", id="no such day"),
        pytest.param("01/02/2025", id="other order"),
        pytest.param("2025-01", id="month"),
        pytest.param("2025-01-02T00:00:00", id="time"),
        pytest.param("2025-W01-4", id="week"),
        pytest.param("20250102", id="without hyphens"),
        pytest.param("2025-01-02\n", id="line break after it"),
    ],
)
def test_malformed_first_business_date_shows_the_expected_form(value: str) -> None:
    with pytest.raises(SettingError) as refused:
        Settings.of({"AFFIRM_FIRST_BUSINESS_DATE": value})
    assert f"AFFIRM_FIRST_BUSINESS_DATE: expected a date YYYY-MM-DD; found {value!r}." in str(refused.value)


def test_message_says_what_to_do() -> None:
    with pytest.raises(SettingError, match=r"Mend AFFIRM_DEPLOYMENT in the environment\."):
        Settings.of({"AFFIRM_DEPLOYMENT": "production"})


class TestOnKubernetes:
    def test_what_the_environment_says(self) -> None:
        assert Settings.of(KUBERNETES) == Settings(
            deployment="kubernetes",
            first_business_date=date(2025, 3, 1),
            catalog_uri="postgresql+psycopg2://affirm@db.example.com:5432/lake",
            warehouse="s3://books/warehouse",
            landing="s3://incoming/landing",
            region="eu-west-1",
        )

    def test_another_s3_than_aws(self) -> None:
        assert Settings.of({**KUBERNETES, "AFFIRM_S3_ENDPOINT": "http://10.0.0.1:9000"}).s3_endpoint == (
            "http://10.0.0.1:9000"
        )

    def test_roles_instead_of_keys(self) -> None:
        keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        assert Settings.of({k: v for k, v in KUBERNETES.items() if k not in keys}) == Settings.of(KUBERNETES)

    @pytest.mark.parametrize("uri", ["glue:", "https://catalog.example.com/iceberg", "http://rest.catalog:8181"])
    def test_a_catalog_that_needs_no_password(self, uri: str) -> None:
        environ = {**KUBERNETES, "AFFIRM_CATALOG_URI": uri}
        del environ["PGPASSWORD"]
        assert Settings.of(environ).catalog_uri == uri

    def test_every_missing_one_is_named_at_once(self) -> None:
        with pytest.raises(SettingsMissing) as missing:
            Settings.of({"AFFIRM_DEPLOYMENT": "kubernetes", "AWS_SECRET_ACCESS_KEY": SECRET})
        assert str(missing.value) == (
            "AFFIRM_DEPLOYMENT=kubernetes: these variables are needed and not set:\n"
            "  - AFFIRM_CATALOG_URI: the catalog of tables\n"
            "  - AFFIRM_WAREHOUSE: where the tables are\n"
            "  - AFFIRM_LANDING: where files arrive\n"
            "  - AFFIRM_FIRST_BUSINESS_DATE: the first day that has a partition\n"
            "  - AWS_REGION: of the buckets\n"
            "  - AWS_ACCESS_KEY_ID: from a secret, both or neither\n"
            "Set them in the environment of every process of the deployment."
        )

    @pytest.mark.parametrize("name", [name for name in KUBERNETES if name != "AFFIRM_DEPLOYMENT"])
    def test_each_is_needed_and_nothing_is_as_good_as_not_set(self, name: str) -> None:
        with pytest.raises(SettingsMissing) as missing:
            Settings.of({**KUBERNETES, name: ""})
        assert [line.split(":")[0] for line in str(missing.value).split("\n  - ")[1:]] == [name]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            pytest.param("AFFIRM_CATALOG_URI", f"postgresql+psycopg2://affirm:{SECRET}@db/lake", id="password"),
            pytest.param("AFFIRM_CATALOG_URI", f"postgresql+psycopg2://affirm@db/lake?password={SECRET}", id="query"),
            pytest.param("AFFIRM_CATALOG_URI", f"postgresql+psycopg2://affirm:{SECRET}@db/l@db/lake", id="two @"),
            pytest.param("AFFIRM_CATALOG_URI", f"postgresql://affirm:{SECRET}@db/lake", id="another driver"),
            pytest.param("AFFIRM_CATALOG_URI", f"https://affirm:{SECRET}@catalog.example.com", id="REST password"),
            pytest.param("AFFIRM_CATALOG_URI", f"https://catalog.example.com/?token={SECRET}", id="REST token"),
            pytest.param("AFFIRM_CATALOG_URI", "sqlite:////lake/catalog.db", id="a pod's own file"),
            pytest.param("AFFIRM_S3_ENDPOINT", f"http://key:{SECRET}@10.0.0.1:9000", id="endpoint with a key"),
            pytest.param("AFFIRM_S3_ENDPOINT", "10.0.0.1:9000", id="endpoint without scheme"),
            pytest.param("AFFIRM_WAREHOUSE", f"s3://key:{SECRET}@bucket/warehouse", id="warehouse with a key"),
            pytest.param("AFFIRM_WAREHOUSE", "s3a://bucket/warehouse", id="Hadoop's scheme"),
            pytest.param("AFFIRM_LANDING", "/landing", id="a pod's own folder"),
            pytest.param("AFFIRM_LANDING", "s3://bucket/landing/%20", id="characters that need escapes"),
            pytest.param("AWS_REGION", "us-east-1 ", id="blank after it"),
        ],
    )
    def test_what_cannot_be_is_refused_and_not_shown(self, name: str, value: str) -> None:
        with pytest.raises(SettingError, match=f"^{name}: expected ") as refused:
            Settings.of({**KUBERNETES, name: value})
        assert value not in str(refused.value)
        assert SECRET not in repr(refused.value)

    def test_neither_password_nor_key_is_kept(self) -> None:
        assert SECRET not in repr(Settings.of(KUBERNETES))

    def test_the_lake_of_a_laptop_counts_for_nothing(self) -> None:
        assert Settings.of({**KUBERNETES, "AFFIRM_LAKE": "/lake"}).lake is None


def test_nodes_are_taken_as_large_and_lasting_unless_said() -> None:
    found = Settings.of(KUBERNETES)
    assert (found.cpu_request_scale, found.spot) == (1.0, None)
    said = {"AFFIRM_CPU_REQUEST_SCALE": "0.1", "AFFIRM_SPOT": "karpenter.sh/capacity-type=spot"}
    found = Settings.of({**KUBERNETES, **said})
    assert (found.cpu_request_scale, found.spot) == (0.1, "karpenter.sh/capacity-type=spot")


@pytest.mark.parametrize("scale", ["0", "-1", "1.5", "half", "nan"])
def test_a_cpu_request_scale_that_cannot_be_is_refused(scale: str) -> None:
    with pytest.raises(SettingError, match=f"AFFIRM_CPU_REQUEST_SCALE: expected a number above 0.*; found '{scale}'"):
        Settings.of({**KUBERNETES, "AFFIRM_CPU_REQUEST_SCALE": scale})


@pytest.mark.parametrize("spot", ["spot", "spot=", "=true", "spot=true:NoSchedule", "a b=c"])
def test_spot_nodes_that_are_not_a_key_and_a_value_are_refused(spot: str) -> None:
    with pytest.raises(SettingError, match="AFFIRM_SPOT: expected <key>=<value>"):
        Settings.of({**KUBERNETES, "AFFIRM_SPOT": spot})


class TestAlerts:
    WEBHOOK = f"https://hooks.example.com/services/T0/B0/{SECRET}"
    MAIL: ClassVar = {
        "AFFIRM_ALERT_SMTP": "smtp+starttls://mail.example.com",
        "AFFIRM_ALERT_FROM": "affirm@lender.example",
        "AFFIRM_ALERT_TO": "books@lender.example, on-call@lender.example",
    }
    LOGIN: ClassVar = {"AFFIRM_ALERT_SMTP_USER": "affirm", "AFFIRM_ALERT_SMTP_PASSWORD": SECRET}

    def test_nobody_is_told_unless_set(self) -> None:
        assert Settings.of({}).alerts == AlertSettings(None, None)
        assert Settings.of({"AFFIRM_ALERT_WEBHOOK": "", "AFFIRM_ALERT_TO": "a@x.example"}).alerts == AlertSettings()

    @pytest.mark.parametrize("environ", [{}, KUBERNETES], ids=DEPLOYMENTS)
    def test_both_ways_in_each_deployment(self, environ: Mapping[str, str]) -> None:
        found = Settings.of({**environ, **self.MAIL, **self.LOGIN, "AFFIRM_ALERT_WEBHOOK": self.WEBHOOK})
        assert found.alerts.webhook == self.WEBHOOK
        assert found.alerts.mail == MailSettings(
            "mail.example.com",
            587,
            "affirm@lender.example",
            ("books@lender.example", "on-call@lender.example"),
            True,
            "affirm",
            SECRET,
        )
        assert SECRET not in repr(found)

    @pytest.mark.parametrize(
        ("server", "port", "starttls"),
        [("smtp://mail", 25, False), ("smtp://mail:2525", 2525, False), ("smtp+starttls://10.0.0.1:25", 25, True)],
    )
    def test_mail_servers(self, server: str, port: int, starttls: bool) -> None:
        mail = Settings.of({**self.MAIL, "AFFIRM_ALERT_SMTP": server}).alerts.mail
        assert mail is not None
        assert (mail.port, mail.starttls, mail.user, mail.password) == (port, starttls, None, None)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            pytest.param("AFFIRM_ALERT_WEBHOOK", f"hooks.example.com/{SECRET}", id="no scheme"),
            pytest.param("AFFIRM_ALERT_WEBHOOK", f"https://user:{SECRET}@hooks.example.com/x", id="a password"),
            pytest.param("AFFIRM_ALERT_WEBHOOK", f"https://hooks.example.com/{SECRET} ", id="blank after it"),
            pytest.param("AFFIRM_ALERT_SMTP", f"smtp://affirm:{SECRET}@mail", id="a password in the server"),
            pytest.param("AFFIRM_ALERT_SMTP", "mail:25", id="server without scheme"),
            pytest.param("AFFIRM_ALERT_SMTP", "smtp://mail:123456", id="port"),
            pytest.param("AFFIRM_UI_URL", f"https://user:{SECRET}@dagster.example", id="a password of the UI"),
            pytest.param("AFFIRM_UI_URL", "dagster.example", id="UI without scheme"),
        ],
    )
    def test_what_cannot_be_is_refused_and_not_shown(self, name: str, value: str) -> None:
        with pytest.raises(SettingError, match=f"^{name}: expected ") as refused:
            Settings.of({**self.MAIL, name: value})
        assert value not in str(refused.value)
        assert SECRET not in repr(refused.value)

    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("AFFIRM_ALERT_FROM", "", "one address, since AFFIRM_ALERT_SMTP is set"),
            ("AFFIRM_ALERT_FROM", "a@x.example,b@x.example", "one address"),
            ("AFFIRM_ALERT_TO", "", "addresses, with commas between them"),
            ("AFFIRM_ALERT_TO", "a@x.example, nobody", "addresses, with commas between them"),
            ("AFFIRM_ALERT_TO", "a@x.example\nBcc: b@x.example", "addresses"),
        ],
    )
    def test_addresses_that_cannot_be_are_shown(self, name: str, value: str, expected: str) -> None:
        with pytest.raises(SettingError, match=f"^{name}: expected {expected}") as refused:
            Settings.of({**self.MAIL, name: value})
        assert repr(value) in str(refused.value)

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param({"AFFIRM_ALERT_SMTP_USER": ""}, id="no user"),
            pytest.param({"AFFIRM_ALERT_SMTP_PASSWORD": ""}, id="no password"),
            pytest.param({"AFFIRM_ALERT_SMTP": "smtp://mail"}, id="in the clear"),
        ],
    )
    def test_a_login_is_whole_and_encrypted(self, change: Mapping[str, str]) -> None:
        with pytest.raises(SettingError, match=r"both with smtp\+starttls:// or neither") as refused:
            Settings.of({**self.MAIL, **self.LOGIN, **change})
        assert SECRET not in str(refused.value)

    def test_the_ui_of_links(self) -> None:
        assert Settings.of({}).ui_url == "http://127.0.0.1:3000"
        assert Settings.of({"AFFIRM_UI_URL": "https://dagster.example/ui/"}).ui_url == "https://dagster.example/ui"
