import pytest
from IPython.testing.globalipapp import start_ipython


@pytest.fixture(scope="session")
def shell():
    """The notebook that this process is: IPython starts once only."""
    return start_ipython()
