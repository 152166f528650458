# Google's services this deployment uses, and the accounts they act as.

locals {
  services = toset(concat(
    [
      "artifactregistry.googleapis.com",
      "cloudbuild.googleapis.com",
      "cloudfunctions.googleapis.com",
      "cloudresourcemanager.googleapis.com",
      "cloudscheduler.googleapis.com",
      "iam.googleapis.com",
      "iamcredentials.googleapis.com",
      "logging.googleapis.com",
      "monitoring.googleapis.com",
      "pubsub.googleapis.com",
      "run.googleapis.com",
      "secretmanager.googleapis.com",
      "sqladmin.googleapis.com",
      "storage.googleapis.com",
    ],
    var.private_ip ? ["compute.googleapis.com", "servicenetworking.googleapis.com"] : [],
    var.dashboard_domain == null ? [] : ["compute.googleapis.com", "iap.googleapis.com"],
    var.customer_managed_keys ? ["cloudkms.googleapis.com"] : [],
    var.budget == null ? [] : ["billingbudgets.googleapis.com"],
    local.traced ? ["telemetry.googleapis.com"] : [],
  ))

  # Those whose account has to exist before it is granted something.
  acting_services = toset(concat(
    ["pubsub.googleapis.com"],
    var.dashboard_domain == null ? [] : ["iap.googleapis.com"],
    var.customer_managed_keys ? local.encrypting_services : [],
  ))
}

data "google_project" "this" {
  project_id = var.project_id
}

resource "google_project_service" "this" {
  for_each = local.services

  project            = var.project_id
  service            = each.value
  disable_on_destroy = false # others in the project may use them
}

resource "google_project_service_identity" "this" {
  provider = google-beta
  for_each = local.acting_services

  project = var.project_id
  service = each.value

  depends_on = [google_project_service.this]
}

data "google_storage_project_service_account" "this" {
  project = var.project_id

  depends_on = [google_project_service.this]
}
