"""What holds for all tests: asserts in modules that several of them share tell what they compared."""

import pytest

pytest.register_assert_rewrite("tests.conformance.meaning")
