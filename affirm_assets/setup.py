"""What `make` does once for a checkout: the local Dagster instance, and Spark's jars."""

import subprocess
import sys
from pathlib import Path

import click
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


def fetch_jars() -> None:
    """Start Spark once, in a process of its own: it downloads the jars by their Maven coordinates."""
    code = "from resources.spark import local_sessions; local_sessions().spark_session.stop()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise click.ClickException(f"Spark did not start:\n{done.stdout}\n{done.stderr}")
