output "api" {
  description = "The address for `rowlift --api`."
  value       = module.function[local.for_people].uri
}

output "archive" {
  description = "The object of the source archive that is deployed."
  value       = "gs://${google_storage_bucket.source.name}/${google_storage_bucket_object.source.name}"
}

output "buckets" {
  description = "The buckets by their key in the topology, once functions may use them and uploads are told of."
  value       = { for key, bucket in google_storage_bucket.this : key => bucket.name }

  depends_on = [google_storage_notification.this, google_storage_bucket_iam_member.people, module.function]
}

output "dashboard" {
  description = "Where browsers reach the dashboard, and the address its name has to point to; null without `dashboard_domain`."
  value       = one([for address in google_compute_global_address.dashboard : { url = "https://${var.dashboard_domain}/", address = address.address }])
}

output "database" {
  description = "Where the ledger is and who owns its tables; what `make deploy` connects with."
  value = {
    instance   = google_sql_database_instance.ledger.connection_name
    name       = google_sql_database.ledger.name
    owner      = google_sql_user.deploy.name
    account    = google_service_account.deploy.email
    private_ip = var.private_ip
  }

  depends_on = [google_project_iam_member.deploy_database, google_service_account_iam_member.deployers]
}

output "grants" {
  description = "Every grant of the deployment: role, resource, who."
  value = sort(concat(
    flatten([for function in values(module.function) : function.grants]),
    flatten([for queue in concat(values(module.queue), values(module.dead_letters)) : queue.grants]),
    [for key, grant in google_storage_bucket_iam_member.people : "${grant.role} on bucket ${split(" ", key)[0]} to ${split(" ", key)[1]}"],
    [for key, grant in google_cloud_run_v2_service_iam_member.scheduler : "${grant.role} on function ${local.name}-${key} to ${local.name}-scheduler"],
    [for grant in google_project_iam_member.deploy_database : "${grant.role} on the database to ${local.name}-deploy"],
    [for key, grant in google_service_account_iam_member.deployers : "${grant.role} on account ${local.name}-deploy to ${key}"],
    ["${google_storage_bucket_iam_member.build_reads_source.role} on bucket source to ${local.name}-build"],
    ["${google_artifact_registry_repository_iam_member.build_writes_images.role} on the repository to ${local.name}-build"],
    ["${google_project_iam_member.build_writes_logs.role} on the project to ${local.name}-build"],
    [for key, grant in google_iap_web_backend_service_iam_member.users : "${grant.role} on the dashboard to ${key}"],
    [for key, grant in google_kms_crypto_key_iam_member.services : "${grant.role} on the key to ${key}"],
  ))
}

output "users" {
  description = "Each function's user in the database, by the function's key in the topology."
  value       = { for key, function in module.function : key => function.user }
}
