"""Two real stores that a test leads step by step."""

import pytest
from tests.unit.tracking.two_stores import World


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("two_stores")


@pytest.fixture
def world(store_folder):
    world = World(store_folder)
    yield world
    world.close()
