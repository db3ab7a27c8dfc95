"""The local Dagster instance of a checkout, which `make` prepares once."""

from pathlib import Path

from dotenv import dotenv_values

INSTANCE = ".dagster"
HOME = "DAGSTER_HOME"


def prepare_instance(root: Path) -> None:
    """Make the instance's folder, with the project's dagster.yaml in it, and name it in `.env`.

    Every dagster command reads `.env`. Its other lines stay, and so does a DAGSTER_HOME that it names already.
    """
    home = root.absolute() / INSTANCE
    home.mkdir(exist_ok=True)
    link = home / "dagster.yaml"
    link.unlink(missing_ok=True)
    link.symlink_to(root.absolute() / "dagster.yaml")
    env = root / ".env"
    if HOME not in dotenv_values(env):
        lines = env.read_text().splitlines() if env.exists() else []
        quoted = str(home).replace("\\", "\\\\").replace("'", "\\'")
        env.write_text("\n".join([*lines, f"{HOME}='{quoted}'"]) + "\n")
