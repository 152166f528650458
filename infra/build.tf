# From the source archive to images: the bucket it lies in, the registry images go to, the account that builds.

locals {
  archive_hash = filesha256("${path.module}/${var.archive}")
}

resource "google_storage_bucket" "source" {
  #checkov:skip=CKV_GCP_62:who reads and writes objects is in Cloud Audit Logs
  name                        = "${local.name}-${var.project_id}-source"
  project                     = var.project_id
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  versioning {
    enabled = true
  }

  lifecycle_rule {
    action { type = "Delete" }
    condition {
      days_since_noncurrent_time = 30
      with_state                 = "ARCHIVED"
    }
  }

  dynamic "encryption" {
    for_each = local.key_of_storage
    content {
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [google_project_service.this, google_kms_crypto_key_iam_member.services]
}

# Its name holds its hash: the same name with new bytes would deploy nothing. Earlier ones stay, for `make rollback`.
resource "google_storage_bucket_object" "source" {
  name            = "source/${local.archive_hash}.zip"
  bucket          = google_storage_bucket.source.name
  source          = "${path.module}/${var.archive}"
  deletion_policy = "ABANDON"
}

resource "google_artifact_registry_repository" "functions" {
  #checkov:skip=CKV_GCP_84:encrypted with a key of the customer's where `customer_managed_keys` says so
  project       = var.project_id
  location      = var.region
  repository_id = "${local.name}-functions"
  description   = "Images of the functions, built from the source archive"
  format        = "DOCKER"
  kms_key_name  = local.key

  cleanup_policies {
    id     = "keep-newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = 5
    }
  }

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      tag_state  = "ANY"
      older_than = "${30 * 24 * 3600}s"
    }
  }

  depends_on = [google_project_service.this, google_kms_crypto_key_iam_member.services]
}

resource "google_service_account" "build" {
  project      = var.project_id
  account_id   = "${local.name}-build"
  display_name = "Builds the functions of ${local.name}"

  depends_on = [google_project_service.this]
}

resource "google_storage_bucket_iam_member" "build_reads_source" {
  bucket = google_storage_bucket.source.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.build.member
}

resource "google_artifact_registry_repository_iam_member" "build_writes_images" {
  project    = var.project_id
  location   = var.region
  repository = google_artifact_registry_repository.functions.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.build.member
}

# There is no smaller resource to bind it on.
resource "google_project_iam_member" "build_writes_logs" {
  project = var.project_id
  role    = "roles/logging.logWriter"
  member  = google_service_account.build.member
}
