"""Sizes as people write and read them."""

import pytest

from penstock.settings import bytes_of, size_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (2**10, "1 KiB"),
        (512 * 2**20, "512 MiB"),
        (1020 * 2**30, "1020 GiB"),
        (int(15.6 * 2**30), "15.6 GiB"),
        (16_000_000_000, "14.9 GiB"),
        (3 * 2**40, "3 TiB"),
        (5000 * 2**40, "5000 TiB"),
    ],
)
def test_a_size_reads_without_an_exponent(count, text):
    assert size_text(count) == text


@pytest.mark.parametrize("text", ["1 KiB", "512 MiB", "1020 GiB", "3 TiB"])
def test_what_is_shown_can_be_written(text):
    assert size_text(bytes_of(text)) == text


def test_what_is_no_size_says_how_to_write_one():
    with pytest.raises(ValueError, match="write for instance '512Mi'"):
        bytes_of("plenty")
