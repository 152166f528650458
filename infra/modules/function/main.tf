# A function, the account it runs as, and every grant that account has; and who may call it, where people may.

locals {
  environment = merge(
    var.environment,
    {
      CLOUD_SQL_INSTANCE = var.database.connection_name
      DB_NAME            = var.database.name
      DB_USER            = trimsuffix(google_service_account.this.email, ".gserviceaccount.com")
    },
    var.network == null ? {} : { CLOUD_SQL_IP_TYPE = "private" },
    {
      LOG_EXECUTION_ID = "true"
      PYTHONPATH       = "/workspace" # only the entry's own folder would be on the path
    },
  )
}

resource "google_service_account" "this" {
  project      = var.project_id
  account_id   = var.name
  display_name = "Runs function ${var.name}"
}

resource "google_cloudfunctions2_function" "this" {
  project      = var.project_id
  name         = var.name
  location     = var.region
  description  = var.description
  kms_key_name = var.key

  build_config {
    runtime           = "python313"
    entry_point       = var.source_code.entry_point
    docker_repository = var.build.repository
    service_account   = var.build.account
    environment_variables = {
      GOOGLE_FUNCTION_SOURCE = var.source_code.file
    }

    source {
      storage_source {
        bucket = var.source_code.bucket
        object = var.source_code.object
      }
    }

    automatic_update_policy {}
  }

  service_config {
    available_memory                 = "${var.size.memory_mb}Mi"
    available_cpu                    = "1" # one process; below one CPU Cloud Run would let in one request at a time
    max_instance_request_concurrency = var.size.concurrency
    min_instance_count               = var.size.min_instances
    max_instance_count               = var.size.max_instances
    timeout_seconds                  = var.size.timeout
    service_account_email            = google_service_account.this.email
    environment_variables            = local.environment
    ingress_settings                 = var.people == null ? "ALLOW_INTERNAL_ONLY" : "ALLOW_ALL" # Pub/Sub and Scheduler count as internal

    dynamic "secret_environment_variables" {
      for_each = var.secrets
      content {
        key        = secret_environment_variables.key
        project_id = var.project_id
        secret     = secret_environment_variables.value.id
        version    = secret_environment_variables.value.version
      }
    }

    direct_vpc_egress = var.network == null ? null : "VPC_EGRESS_PRIVATE_RANGES_ONLY"

    dynamic "direct_vpc_network_interface" {
      for_each = var.network[*]
      content {
        network    = direct_vpc_network_interface.value.network
        subnetwork = direct_vpc_network_interface.value.subnetwork
      }
    }
  }

  lifecycle {
    precondition {
      condition     = var.environment["THREADS"] == tostring(var.size.concurrency)
      error_message = "Function ${var.name} would be given ${var.size.concurrency} requests at a time and ${var.environment["THREADS"]} threads (THREADS): requests would wait inside the instance, or threads for nothing. Set both to the same number."
    }
    precondition {
      condition     = tonumber(var.environment["DB_POOL_SIZE"]) <= var.size.concurrency
      error_message = "Function ${var.name} would hold ${var.environment["DB_POOL_SIZE"]} database connections for ${var.size.concurrency} requests at a time: a pool larger than the threads is never used."
    }
    precondition {
      condition     = var.size.min_instances <= var.size.max_instances
      error_message = "Function ${var.name} has min_instances ${var.size.min_instances} above its max_instances ${var.size.max_instances}."
    }
  }

  depends_on = [
    google_project_iam_member.database,
    google_secret_manager_secret_iam_member.this,
    google_storage_bucket_iam_member.this,
  ]
}

resource "google_storage_bucket_iam_member" "this" {
  for_each = var.buckets

  bucket = each.value.bucket
  role   = each.value.role
  member = google_service_account.this.member
}

resource "google_secret_manager_secret_iam_member" "this" {
  for_each = var.secrets

  project   = var.project_id
  secret_id = each.value.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.this.member
}

# Cloud SQL has no grants of an instance's own; the condition makes them ones.
resource "google_project_iam_member" "database" {
  for_each = toset(["roles/cloudsql.client", "roles/cloudsql.instanceUser"])

  project = var.project_id
  role    = each.key
  member  = google_service_account.this.member

  condition {
    title      = "only-${var.database.instance}"
    expression = "resource.service == \"sqladmin.googleapis.com\" && resource.name == \"projects/${var.project_id}/instances/${var.database.instance}\""
  }
}

resource "google_sql_user" "this" {
  project  = var.project_id
  instance = var.database.instance
  name     = local.environment.DB_USER
  type     = "CLOUD_IAM_SERVICE_ACCOUNT"

  # PostgreSQL drops no role that holds a grant. Without its account nobody can log in as it, and it goes with its instance.
  deletion_policy = "ABANDON"
}

# Spans go to the project's Telemetry API; there is nothing smaller to bind it on.
resource "google_project_iam_member" "traces" {
  count = var.traced ? 1 : 0

  project = var.project_id
  role    = "roles/cloudtrace.agent"
  member  = google_service_account.this.member
}

resource "google_cloud_run_v2_service_iam_member" "people" {
  for_each = coalesce(var.people, {})

  project  = var.project_id
  location = var.region
  name     = google_cloudfunctions2_function.this.name
  role     = "roles/run.invoker"
  member   = each.value
}
