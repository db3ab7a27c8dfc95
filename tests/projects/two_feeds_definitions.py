"""The code location of this project, for a webserver or a daemon."""

import os

import tests.projects.two_feeds
from affirm_assets.declare.registry import Registry
from affirm_assets.definitions import build_defs
from affirm_assets.settings import Settings

defs = build_defs(Settings.of(os.environ), Registry.walk(tests.projects.two_feeds))
