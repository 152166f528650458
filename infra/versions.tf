terraform {
  required_version = ">= 1.11" # ephemeral variables and write-only arguments keep secrets out of plan and state

  # Which bucket and which prefix is said at init, by the environment's .gcs.tfbackend file (see README.md). Cloud Storage
  # locks the state by itself.
  backend "gcs" {}

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "7.45.0" # exact: a lock file would hold the checksums of one machine's platform only
    }
    google-beta = {
      source  = "hashicorp/google-beta"
      version = "7.45.0" # exact: a lock file would hold the checksums of one machine's platform only
    }
  }
}

provider "google" {
  project               = var.project_id
  region                = var.region
  billing_project       = var.project_id
  user_project_override = true # budgets are billed to a project, not to the caller's
  default_labels        = { app = local.name }
}

# Only for what the other does not have: the service agents of Google's services.
provider "google-beta" {
  project = var.project_id
  region  = var.region
}
