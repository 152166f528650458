# With `customer_managed_keys`: one key for all that is kept, and the services that may use it.

locals {
  encrypting_services = [
    "artifactregistry.googleapis.com",
    "cloudfunctions.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "sqladmin.googleapis.com",
  ]
  key            = one(google_kms_crypto_key.this[*].id)
  key_of_storage = google_kms_crypto_key.this[*].id
}

resource "google_kms_key_ring" "this" {
  count = var.customer_managed_keys ? 1 : 0

  project  = var.project_id
  location = var.region
  name     = local.name

  depends_on = [google_project_service.this]
}

resource "google_kms_crypto_key" "this" {
  count = var.customer_managed_keys ? 1 : 0

  name            = local.name
  key_ring        = google_kms_key_ring.this[0].id
  rotation_period = "${90 * 24 * 3600}s"

  lifecycle {
    prevent_destroy = true # whatever it encrypted would be lost, backups included
  }
}

resource "google_kms_crypto_key_iam_member" "services" {
  for_each = var.customer_managed_keys ? toset(concat(local.encrypting_services, ["storage.googleapis.com"])) : []

  crypto_key_id = google_kms_crypto_key.this[0].id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = each.key == "storage.googleapis.com" ? data.google_storage_project_service_account.this.member : google_project_service_identity.this[each.key].member
}
