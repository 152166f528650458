# One page of charts: is anything waiting, does anything fail, what is spent, how the database stands.

locals {
  charts = [
    { metric = "run.googleapis.com/request_count", resource = "cloud_run_revision", where = local.services_filter, aligner = "ALIGN_RATE", group = "resource.label.service_name", named = "Requests a second by function" },
    { metric = "run.googleapis.com/request_latencies", resource = "cloud_run_revision", where = local.services_filter, aligner = "ALIGN_PERCENTILE_95", group = "resource.label.service_name", named = "Slowest twentieth of answers by function, ms" },
    { metric = "run.googleapis.com/container/instance_count", resource = "cloud_run_revision", where = local.services_filter, aligner = "ALIGN_MAX", group = "resource.label.service_name", named = "Instances by function" },
    { metric = "pubsub.googleapis.com/subscription/num_undelivered_messages", resource = "pubsub_subscription", where = local.subscriptions_filter, aligner = "ALIGN_MEAN", group = "resource.label.subscription_id", named = "Messages that wait" },
    { metric = "pubsub.googleapis.com/subscription/oldest_unacked_message_age", resource = "pubsub_subscription", where = local.subscriptions_filter, aligner = "ALIGN_MAX", group = "resource.label.subscription_id", named = "Age of the oldest message, s" },
    { query = "sum(increase(${local.spend_sum}[5m])) / 1000000", named = "Paid to upstreams in five minutes, dollars" },
    { metric = "cloudsql.googleapis.com/database/postgresql/num_backends", resource = "cloudsql_database", where = local.database_filter, aligner = "ALIGN_MAX", group = "resource.label.database_id", named = "Database connections (of ${var.database.max_connections})" },
    { metric = "cloudsql.googleapis.com/database/cpu/utilization", resource = "cloudsql_database", where = local.database_filter, aligner = "ALIGN_MEAN", group = "resource.label.database_id", named = "Database CPU" },
  ]
  subscriptions_filter = join(" OR ", [for key in keys(local.subscriptions) : "resource.labels.subscription_id=\"${local.name}-${key}\""])
  database_filter      = "resource.labels.database_id=\"${var.project_id}:${local.name}-ledger\""
}

resource "google_monitoring_dashboard" "this" {
  project = var.project_id

  dashboard_json = jsonencode({
    displayName = local.name
    mosaicLayout = {
      columns = 12
      tiles = [
        for number, chart in local.charts : {
          xPos   = number % 2 * 6
          yPos   = floor(number / 2) * 4
          width  = 6
          height = 4
          widget = {
            title = chart.named
            xyChart = {
              dataSets = [{
                plotType = "LINE"
                timeSeriesQuery = { for key, value in {
                  prometheusQuery = try(chart.query, null)
                  timeSeriesFilter = try({
                    filter = "resource.type=\"${chart.resource}\" AND metric.type=\"${chart.metric}\" AND (${chart.where})"
                    aggregation = {
                      alignmentPeriod    = "60s"
                      perSeriesAligner   = chart.aligner
                      crossSeriesReducer = startswith(chart.aligner, "ALIGN_PERCENTILE") ? "REDUCE_MAX" : "REDUCE_SUM"
                      groupByFields      = [chart.group]
                    }
                  }, null)
                } : key => value if value != null }
              }]
            }
          }
        }
      ]
    }
  })

  depends_on = [google_project_service.this]
}
