# When somebody has to look: conditions on the platform's figures and on lines of the log. docs/operate.md says what to do.

locals {
  # One of these lines is enough. They are the constant sentences of the log (shared/), and a test holds that they exist.
  lines = {
    answers-lost    = { sentence = "Paid answers are lost: neither ledger nor bucket took them", title = "Paid answers are lost" }
    file-failed     = { sentence = "File failed", title = "A file cannot be read" }
    given-up        = { sentence = "Message given up", title = "A message was given up" }
    session-held    = { sentence = "Session held", title = "A session waits for a person" }
    session-stopped = { sentence = "Session stopped: too many items failed", title = "A session failed" }
    unforeseen      = { sentence = "Unforeseen error", title = "An error nobody foresaw" }
  }

  services_filter = join(" OR ", [for key in keys(local.functions) : "resource.labels.service_name=\"${local.name}-${key}\""])
  runbook         = "See docs/operate.md of the project."

  # Figures of the platform that are watched for each function, or for each subscription.
  figures = {
    dead-letters = {
      title     = "Messages wait among the dead letters"
      filter    = "resource.type = \"pubsub_subscription\" AND metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\" AND (${join(" OR ", [for key, s in local.subscriptions : "resource.labels.subscription_id = \"${local.name}-${key}\"" if contains(local.dead_letter_topics, s.topic)])})"
      aligner   = "ALIGN_MEAN"
      threshold = 0
      duration  = "600s"
      group     = "resource.label.subscription_id"
    }
    connections = {
      title     = "The database's connections run out"
      filter    = "resource.type = \"cloudsql_database\" AND resource.labels.database_id = \"${var.project_id}:${local.name}-ledger\" AND metric.type = \"cloudsql.googleapis.com/database/postgresql/num_backends\""
      aligner   = "ALIGN_MAX"
      threshold = floor(var.database.max_connections * var.alerts.connections_share)
      duration  = "300s"
      group     = "resource.label.database_id"
    }
    disk = {
      title     = "The database's disk is nearly full"
      filter    = "resource.type = \"cloudsql_database\" AND resource.labels.database_id = \"${var.project_id}:${local.name}-ledger\" AND metric.type = \"cloudsql.googleapis.com/database/disk/bytes_used\""
      aligner   = "ALIGN_MAX"
      threshold = floor(0.9 * var.database.disk_limit_gb) * pow(1024, 3)
      duration  = "300s"
      group     = "resource.label.database_id"
    }
    refusals = {
      title     = "All instances of a function are busy (429)"
      filter    = "resource.type = \"cloud_run_revision\" AND metric.type = \"run.googleapis.com/request_count\" AND metric.labels.response_code = \"429\" AND (${replace(local.services_filter, "=", " = ")})"
      aligner   = "ALIGN_RATE"
      threshold = var.alerts.refusals
      duration  = "300s"
      group     = "resource.label.service_name"
    }
    server-errors = {
      title     = "A function answers with errors (5xx)"
      filter    = "resource.type = \"cloud_run_revision\" AND metric.type = \"run.googleapis.com/request_count\" AND metric.labels.response_code_class = \"5xx\" AND (${replace(local.services_filter, "=", " = ")})"
      aligner   = "ALIGN_RATE"
      threshold = var.alerts.server_errors
      duration  = "300s"
      group     = "resource.label.service_name"
    }
    unacknowledged = {
      title     = "A message has waited long"
      filter    = "resource.type = \"pubsub_subscription\" AND metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\" AND (${join(" OR ", [for key in keys(local.subscriptions) : "resource.labels.subscription_id = \"${local.name}-${key}\""])})"
      aligner   = "ALIGN_MAX"
      threshold = var.alerts.unacknowledged
      duration  = "300s"
      group     = "resource.label.subscription_id"
    }
  }
}

resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.alerts.emails)

  project      = var.project_id
  display_name = "${local.name}: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }

  depends_on = [google_project_service.this]
}

resource "google_logging_metric" "lines" {
  for_each = local.lines

  project     = var.project_id
  name        = "${local.name}-${each.key}"
  description = "Lines `${each.value.sentence}`"
  filter      = "resource.type=\"cloud_run_revision\" AND (${local.services_filter}) AND jsonPayload.message=~\"^${each.value.sentence}\""

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }

  depends_on = [google_project_service.this]
}

# What was paid to upstreams, in millionths of a dollar: every settled item's line says what its call cost.
resource "google_logging_metric" "spend" {
  project         = var.project_id
  name            = "${local.name}-spend"
  description     = "Cost of calls in micro-dollars, from lines `Item settled`"
  filter          = "resource.type=\"cloud_run_revision\" AND (${local.services_filter}) AND jsonPayload.message=\"Item settled\" AND jsonPayload.cost>0"
  value_extractor = "EXTRACT(jsonPayload.cost)"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
  }

  depends_on = [google_project_service.this]
}

resource "google_monitoring_alert_policy" "lines" {
  for_each = local.lines

  project               = var.project_id
  display_name          = "${local.name}: ${each.value.title}"
  combiner              = "OR"
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]

  conditions {
    display_name = each.value.title

    condition_threshold {
      filter          = "resource.type = \"cloud_run_revision\" AND metric.type = \"logging.googleapis.com/user/${google_logging_metric.lines[each.key].name}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  alert_strategy {
    auto_close = "${24 * 3600}s"
  }

  documentation {
    content = "A function wrote `${each.value.sentence}`. ${local.runbook}"
  }
}

resource "google_monitoring_alert_policy" "figures" {
  for_each = local.figures

  project               = var.project_id
  display_name          = "${local.name}: ${each.value.title}"
  combiner              = "OR"
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]

  conditions {
    display_name = each.value.title

    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.threshold
      duration        = each.value.duration

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = each.value.aligner
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = [each.value.group]
      }
    }
  }

  documentation {
    content = "${each.value.title}. ${local.runbook}"
  }
}

# A distribution's sum can only be asked for in PromQL, whose names have no hyphens.
locals {
  spend_sum = "logging_googleapis_com:user_${replace(google_logging_metric.spend.name, "-", "_")}_sum{monitored_resource=\"cloud_run_revision\"}"
}

resource "google_monitoring_alert_policy" "spend" {
  project               = var.project_id
  display_name          = "${local.name}: Upstreams are paid faster than expected"
  combiner              = "OR"
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]

  conditions {
    display_name = "More than $${var.alerts.spend_usd_per_hour} in an hour"

    condition_prometheus_query_language {
      query               = "sum(increase(${local.spend_sum}[1h])) > ${var.alerts.spend_usd_per_hour * 1000000}"
      duration            = "0s"
      evaluation_interval = "60s"
    }
  }

  documentation {
    content = "`rowlift pause SESSION` stops it, if it is not meant. ${local.runbook}"
  }
}

# A function called by the clock that is called no more: rescue alone brings every session to its end.
resource "google_monitoring_alert_policy" "silent" {
  for_each = { for key, schedule in local.topology.schedules : key => schedule if schedule.every <= 3600 }

  project               = var.project_id
  display_name          = "${local.name}: ${each.key} is called no more"
  combiner              = "OR"
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]

  conditions {
    display_name = "No answer of ${each.value.function} for ${max(5, ceil(3 * each.value.every / 60))} minutes"

    condition_absent {
      filter   = "resource.type = \"cloud_run_revision\" AND metric.type = \"run.googleapis.com/request_count\" AND metric.labels.response_code_class = \"2xx\" AND resource.labels.service_name = \"${local.name}-${each.value.function}\""
      duration = "${max(300, 3 * each.value.every)}s"

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_RATE"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    content = "Look at the job ${local.name}-${each.key} in Cloud Scheduler and at the log of ${each.value.function}. ${local.runbook}"
  }

  depends_on = [google_project_service.this]
}
