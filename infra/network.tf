# With `private_ip`: a network of this deployment's own, in which the database has its only address.

locals {
  private = var.private_ip ? [local.name] : []
  function_network = [
    for name in local.private : {
      network    = google_compute_network.this[0].id
      subnetwork = google_compute_subnetwork.this[0].id
    }
  ]
}

resource "google_compute_network" "this" {
  #checkov:skip=CKV2_GCP_18:nothing in it listens: functions only call out through it, and the implied rules let nothing in
  count = length(local.private)

  project                 = var.project_id
  name                    = local.name
  auto_create_subnetworks = false

  depends_on = [google_project_service.this]
}

resource "google_compute_subnetwork" "this" {
  #checkov:skip=CKV_GCP_26:its only traffic is to the database, whose connections PostgreSQL logs itself
  #checkov:skip=CKV_GCP_76:no IPv6 in it
  count = length(local.private)

  project                  = var.project_id
  region                   = var.region
  name                     = local.name
  network                  = google_compute_network.this[0].id
  ip_cidr_range            = "10.8.0.0/22" # an instance takes up to four addresses while it is replaced
  private_ip_google_access = true
}

resource "google_compute_global_address" "database" {
  count = length(local.private)

  project       = var.project_id
  name          = "${local.name}-database"
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
  network       = google_compute_network.this[0].id
}

resource "google_service_networking_connection" "this" {
  count = length(local.private)

  network                 = google_compute_network.this[0].id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.database[0].name]
}
