"""Deploying to Google Cloud: archive, Terraform, migrations, rights in the database, a test that it works."""
