output "environment" {
  description = "Names of all variables it is given, secrets among them."
  value       = sort(concat(keys(local.environment), keys(var.secrets)))
}

output "grants" {
  description = "Every grant its account has, and who may call it besides Pub/Sub and the scheduler: role, resource, who."
  value = concat(
    [for key, grant in google_storage_bucket_iam_member.this : "${grant.role} on bucket ${key} to ${var.name}"],
    [for key, grant in google_secret_manager_secret_iam_member.this : "${grant.role} on secret ${key} to ${var.name}"],
    [for key, grant in google_project_iam_member.database : "${grant.role} on the database to ${var.name}"],
    [for grant in google_project_iam_member.traces : "${grant.role} on the project to ${var.name}"],
    [for who, grant in google_cloud_run_v2_service_iam_member.people : "${grant.role} on function ${var.name} to ${who}"],
  )
}

output "member" {
  description = "The account it runs as, as an IAM member."
  value       = google_service_account.this.member
}

output "service" {
  description = "The Cloud Run service behind it, once its account has its grants."
  value       = google_cloudfunctions2_function.this.name

  depends_on = [google_project_iam_member.database, google_secret_manager_secret_iam_member.this, google_storage_bucket_iam_member.this]
}

output "size" {
  description = "What was asked for, as it was planned."
  value       = google_cloudfunctions2_function.this.service_config[0]
}

output "uri" {
  description = "Its address, once people may call it."
  value       = google_cloudfunctions2_function.this.service_config[0].uri

  depends_on = [google_cloud_run_v2_service_iam_member.people]
}

output "user" {
  description = "Its user in the database, once it may log in."
  value       = google_sql_user.this.name

  depends_on = [google_project_iam_member.database]
}
