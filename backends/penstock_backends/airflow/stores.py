"""Object stores as artifact roots: which packages of Airflow's reach them."""

from __future__ import annotations

from urllib.parse import urlsplit

_AMAZON = "apache-airflow-providers-amazon[s3fs]"
_GOOGLE = "apache-airflow-providers-google"
_MICROSOFT = "apache-airflow-providers-microsoft-azure"

PROVIDERS = {
    "s3": _AMAZON,
    "s3a": _AMAZON,
    "gs": _GOOGLE,
    "gcs": _GOOGLE,
    "abfs": _MICROSOFT,
    "abfss": _MICROSOFT,
    "adl": _MICROSOFT,
}
"""The packages, with their extras, by scheme. These stores have buckets, in which no folder need be made."""


def provider_of(root: str) -> str:
    """The package that a root asks for; empty where it is a folder, or that is not known."""
    return PROVIDERS.get(urlsplit(root).scheme, "")


def connection_of(root: str) -> str:
    """The connection of Airflow's that a root names; empty where it names none."""
    return urlsplit(root).netloc.rpartition("@")[0]
