# Who may call the API, and with `dashboard_domain` the way in for browsers: an HTTPS load balancer that lets through whom
# Identity-Aware Proxy knows.

locals {
  for_people = one([for key, function in local.functions : key if function.people])
  by_domain  = var.dashboard_domain[*]
  callers = merge(
    { for member in toset(concat(var.users, var.deployers)) : member => member },
    { for domain in local.by_domain : "iap" => google_project_service_identity.this["iap.googleapis.com"].member },
  )
}

resource "google_compute_global_address" "dashboard" {
  count = length(local.by_domain)

  project = var.project_id
  name    = "${local.name}-dashboard"

  depends_on = [google_project_service.this]
}

resource "google_compute_managed_ssl_certificate" "dashboard" {
  count = length(local.by_domain)

  project = var.project_id
  name    = "${local.name}-dashboard"

  managed {
    domains = local.by_domain
  }

  depends_on = [google_project_service.this]
}

resource "google_compute_region_network_endpoint_group" "dashboard" {
  count = length(local.by_domain)

  project               = var.project_id
  region                = var.region
  name                  = "${local.name}-dashboard"
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = module.function[local.for_people].service
  }
}

resource "google_compute_backend_service" "dashboard" {
  count = length(local.by_domain)

  project               = var.project_id
  name                  = "${local.name}-dashboard"
  protocol              = "HTTPS"
  load_balancing_scheme = "EXTERNAL_MANAGED"

  backend {
    group = google_compute_region_network_endpoint_group.dashboard[0].id
  }

  iap {
    enabled = true
  }

  log_config {
    enable = true
  }
}

resource "google_iap_web_backend_service_iam_member" "users" {
  for_each = var.dashboard_domain == null ? [] : toset(var.users)

  project             = var.project_id
  web_backend_service = google_compute_backend_service.dashboard[0].name
  role                = "roles/iap.httpsResourceAccessor"
  member              = each.key
}

resource "google_compute_url_map" "dashboard" {
  count = length(local.by_domain)

  project         = var.project_id
  name            = "${local.name}-dashboard"
  default_service = google_compute_backend_service.dashboard[0].id
}

resource "google_compute_ssl_policy" "dashboard" {
  count = length(local.by_domain)

  project         = var.project_id
  name            = "${local.name}-dashboard"
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"
}

resource "google_compute_target_https_proxy" "dashboard" {
  count = length(local.by_domain)

  project          = var.project_id
  name             = "${local.name}-dashboard"
  url_map          = google_compute_url_map.dashboard[0].id
  ssl_certificates = [google_compute_managed_ssl_certificate.dashboard[0].id]
  ssl_policy       = google_compute_ssl_policy.dashboard[0].id
}

resource "google_compute_global_forwarding_rule" "dashboard" {
  count = length(local.by_domain)

  project               = var.project_id
  name                  = "${local.name}-dashboard"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.dashboard[0].id
  port_range            = "443"
  target                = google_compute_target_https_proxy.dashboard[0].id
}
