# The ledger: the instance, the database in it, and the account that owns its tables. Functions' users are made with them.

resource "google_sql_database_instance" "ledger" {
  #checkov:skip=CKV_GCP_6:connector_enforcement REQUIRED lets in only connectors, which bring a client certificate of their own and TLS 1.3; ssl_mode says the least that holds for all
  #checkov:skip=CKV_GCP_60:reachable from outside only through the connector, with IAM login; `private_ip` takes the address away
  #checkov:skip=CKV_GCP_79:the version is a variable, whose default is the one the tests run on; checkov does not see it
  #checkov:skip=CKV_GCP_110:pgAudit writes every statement to the log, with the rows of people's files; who did what to a session is in audit_log
  name                = "${local.name}-ledger"
  project             = var.project_id
  region              = var.region
  database_version    = var.database.version
  deletion_protection = var.deletion_protection
  encryption_key_name = local.key

  settings {
    edition                     = "ENTERPRISE" # PostgreSQL 16 and later default to another, which refuses these tiers
    tier                        = var.database.tier
    availability_type           = var.database.high_availability ? "REGIONAL" : "ZONAL"
    connector_enforcement       = "REQUIRED"
    deletion_protection_enabled = var.deletion_protection
    disk_type                   = "PD_SSD"
    disk_size                   = var.database.disk_gb
    disk_autoresize             = true
    disk_autoresize_limit       = var.database.disk_limit_gb

    ip_configuration {
      ipv4_enabled    = !var.private_ip
      private_network = one(local.function_network[*].network)
      ssl_mode        = "ENCRYPTED_ONLY"
    }

    backup_configuration {
      enabled                        = true
      start_time                     = "02:00"
      location                       = var.region
      point_in_time_recovery_enabled = true
      transaction_log_retention_days = var.database.log_days

      backup_retention_settings {
        retained_backups = var.database.backups
      }
    }

    final_backup_config {
      enabled        = var.deletion_protection
      retention_days = var.deletion_protection ? 30 : null
    }

    maintenance_window {
      day          = 7
      hour         = 3
      update_track = "stable"
    }

    insights_config {
      query_insights_enabled  = true
      query_string_length     = 1024
      record_application_tags = true
      record_client_address   = false
    }

    dynamic "database_flags" {
      for_each = {
        "cloudsql.iam_authentication" = "on"
        "log_checkpoints"             = "on"
        "log_connections"             = "on"
        "log_disconnections"          = "on"
        "log_duration"                = "off"
        "log_hostname"                = "on"
        "log_lock_waits"              = "on"
        "log_min_duration_statement"  = "-1" # a slow statement would stand in the log with what it holds; insights show its shape
        "log_min_error_statement"     = "error"
        "log_min_messages"            = "warning"
        "log_temp_files"              = "0"
        "max_connections"             = tostring(var.database.max_connections)
      }
      content {
        name  = database_flags.key
        value = database_flags.value
      }
    }
  }

  lifecycle {
    precondition {
      condition     = local.connections + local.connections_kept <= var.database.max_connections
      error_message = "All functions together could hold ${local.connections} database connections (instances x pool_size), and ${local.connections_kept} are kept for people and Cloud SQL itself: more than max_connections, ${var.database.max_connections}. Lower max_instances or pool_size in topology.yaml, set most_instances, or choose a larger database."
    }
  }

  depends_on = [
    google_project_service.this,
    google_service_networking_connection.this,
    google_kms_crypto_key_iam_member.services,
  ]
}

locals {
  connections      = sum([for function in values(local.functions) : function.instances * function.pool_size])
  connections_kept = 20
}

resource "google_sql_database" "ledger" {
  name            = replace(local.name, "-", "_")
  project         = var.project_id
  instance        = google_sql_database_instance.ledger.name
  deletion_policy = var.deletion_protection ? "ABANDON" : "DELETE" # goes with its instance
}

# Owns the tables: migrations run as it, whoever starts them, so that nobody's leaving takes the tables' owner along.
resource "google_service_account" "deploy" {
  project      = var.project_id
  account_id   = "${local.name}-deploy"
  display_name = "Runs migrations and grants of ${local.name}"

  depends_on = [google_project_service.this]
}

resource "google_project_iam_member" "deploy_database" {
  for_each = toset(["roles/cloudsql.client", "roles/cloudsql.instanceUser"])

  project = var.project_id
  role    = each.key
  member  = google_service_account.deploy.member

  condition {
    title      = "only-${google_sql_database_instance.ledger.name}"
    expression = "resource.service == \"sqladmin.googleapis.com\" && resource.name == \"projects/${var.project_id}/instances/${google_sql_database_instance.ledger.name}\""
  }
}

# Cloud SQL's administrator: only it may create tables in a database that Terraform made.
resource "google_sql_user" "deploy" {
  project        = var.project_id
  instance       = google_sql_database_instance.ledger.name
  name           = trimsuffix(google_service_account.deploy.email, ".gserviceaccount.com")
  type           = "CLOUD_IAM_SERVICE_ACCOUNT"
  database_roles = ["cloudsqlsuperuser"]

  deletion_policy = "ABANDON" # it owns the tables, so it goes with its instance
}

resource "google_service_account_iam_member" "deployers" {
  for_each = toset(var.deployers)

  service_account_id = google_service_account.deploy.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = each.key
}
