# Every function of the topology, with the variables that the topology lists for it.

locals {
  traced = tonumber(lookup(var.settings, "TRACE_SAMPLE", "0")) > 0 && !contains(keys(var.settings), "OTEL_EXPORTER_OTLP_ENDPOINT")

  # What quotes want to know of each pipeline's function travels with the pipeline.
  pipelines = {
    for slug, pipeline in local.topology.pipelines : slug => merge(pipeline, [
      for function in values(local.functions) :
      { threads = function.threads, pool_size = function.pool_size, instances = function.instances }
      if function.pipeline == slug
    ]...)
  }

  # Variables whose values Terraform knows by itself; all others are chosen in `settings` or have their default.
  known = merge(
    {
      CODE_VERSION         = substr(local.archive_hash, 0, 12)
      GOOGLE_CLOUD_PROJECT = var.project_id
      PIPELINES            = jsonencode(local.pipelines)
      TOPIC_PREFIX         = "${local.name}-"
      UPSTREAMS            = jsonencode(local.topology.upstreams)
    },
    { for key, bucket in local.buckets : bucket.env => bucket.name },
  )

  listed = { for key, function in local.functions : key => concat(local.topology.common_env, function.env) }

  environments = {
    for key, function in local.functions : key => {
      for variable, value in merge(
        var.settings,
        local.known,
        { DB_POOL_SIZE = tostring(function.pool_size), THREADS = tostring(function.threads) },
        function.pipeline == null ? {} : { PIPELINE = function.pipeline },
      ) : variable => value if contains(local.listed[key], variable)
    }
  }
}

module "function" {
  source   = "./modules/function"
  for_each = local.functions

  name        = "${local.name}-${each.key}"
  description = "Rowlift: ${each.key}"
  project_id  = var.project_id
  region      = var.region
  key         = local.key
  network     = one(local.function_network)
  traced      = local.traced
  environment = local.environments[each.key]
  people      = each.value.people ? local.callers : null

  source_code = {
    bucket      = google_storage_bucket.source.name
    object      = google_storage_bucket_object.source.name
    file        = each.value.source
    entry_point = each.value.entry_point
  }

  build = {
    account    = google_service_account.build.id
    repository = google_artifact_registry_repository.functions.id
  }

  size = {
    memory_mb     = each.value.memory_mb
    concurrency   = each.value.threads
    timeout       = each.value.timeout
    min_instances = min(each.value.min_instances, each.value.instances)
    max_instances = each.value.instances
  }

  secrets = {
    for secret in each.value.secrets : secret => {
      id      = google_secret_manager_secret.this[secret].secret_id
      version = google_secret_manager_secret_version.this[secret].version
    }
  }

  buckets = {
    for bucket, access in each.value.buckets : bucket => {
      bucket = google_storage_bucket.this[bucket].name
      role   = local.bucket_roles[access]
    }
  }

  database = {
    instance        = google_sql_database_instance.ledger.name
    connection_name = google_sql_database_instance.ledger.connection_name
    name            = google_sql_database.ledger.name
  }

  depends_on = [
    google_artifact_registry_repository_iam_member.build_writes_images,
    google_project_iam_member.build_writes_logs,
    google_storage_bucket_iam_member.build_reads_source,
    google_kms_crypto_key_iam_member.services,
  ]
}
