# What calls functions by the clock.

locals {
  # Seconds as a cron line: whole minutes up to an hour, else whole hours up to a day.
  crons = {
    for key, schedule in local.topology.schedules : key => (
      schedule.every < 3600
      ? "*/${schedule.every / 60} * * * *"
      : "0 */${schedule.every / 3600} * * *"
    )
  }
}

resource "google_service_account" "scheduler" {
  project      = var.project_id
  account_id   = "${local.name}-scheduler"
  display_name = "Calls functions of ${local.name} by the clock"

  depends_on = [google_project_service.this]
}

resource "google_cloud_run_v2_service_iam_member" "scheduler" {
  for_each = toset([for schedule in values(local.topology.schedules) : schedule.function])

  project  = var.project_id
  location = var.region
  name     = module.function[each.key].service
  role     = "roles/run.invoker"
  member   = google_service_account.scheduler.member
}

resource "google_cloud_scheduler_job" "this" {
  for_each = local.topology.schedules

  project          = var.project_id
  region           = var.region
  name             = "${local.name}-${each.key}"
  description      = "Calls function ${each.value.function} every ${each.value.every} s"
  schedule         = local.crons[each.key]
  time_zone        = "Etc/UTC"
  attempt_deadline = "${local.functions[each.value.function].timeout}s" # calls may overlap: they do no harm

  retry_config {
    retry_count          = 3
    min_backoff_duration = "2s"
    max_backoff_duration = "10s"
  }

  http_target {
    uri         = module.function[each.value.function].uri
    http_method = "POST"
    body        = base64encode("{}")
    headers     = { "Content-Type" = "application/json" }

    oidc_token {
      service_account_email = google_service_account.scheduler.email
      audience              = module.function[each.value.function].uri
    }
  }

  lifecycle {
    precondition {
      condition     = local.functions[each.value.function].timeout >= 15 && local.functions[each.value.function].timeout <= 1800
      error_message = "Schedule ${each.key} waits as long as function ${each.value.function} may take; Cloud Scheduler waits 15 to 1800 seconds."
    }
    precondition {
      condition     = each.value.every < 3600 ? each.value.every % 60 == 0 && 3600 % each.value.every == 0 : each.value.every % 3600 == 0 && 86400 % each.value.every == 0
      error_message = "Schedule ${each.key} runs every ${each.value.every} s; Cloud Scheduler can only do minutes that divide an hour, or hours that divide a day."
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_member.scheduler]
}
