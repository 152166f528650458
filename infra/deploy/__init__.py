"""Deploying to Google Cloud: the archive, Terraform, migrations, grants in the database, and a test that all of it works."""
