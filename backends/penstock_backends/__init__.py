"""The targets that come with Penstock: local, Kubeflow Pipelines, Airflow and GitHub Actions."""
