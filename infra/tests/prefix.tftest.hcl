# Two deployments live in one project: every name carries the prefix.

mock_provider "google" {
  source          = "./tests/mocks"
  override_during = plan
}

mock_provider "google-beta" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  project_id = "test-project"
  archive    = "topology.yaml"
  alerts     = { emails = ["somebody@example.com"] }
}

run "names_carry_the_prefix" {
  command = plan

  variables {
    name                  = "other"
    private_ip            = true
    customer_managed_keys = true
    dashboard_domain      = "rowlift.example.com"
  }

  assert {
    condition = alltrue([for name in concat(
      [for b in google_storage_bucket.this : b.name],
      [google_storage_bucket.source.name],
      [for f in module.function : f.service],
      [for f in module.function : f.user],
      [for q in module.queue : q.topic_name],
      [for q in module.dead_letters : q.topic_name],
      flatten([for q in concat(values(module.queue), values(module.dead_letters)) : [for s in q.subscriptions : s.name]]),
      [for s in google_secret_manager_secret.this : s.secret_id],
      [for j in google_cloud_scheduler_job.this : j.name],
      [for a in [google_service_account.build, google_service_account.deploy, google_service_account.scheduler] : a.account_id],
      [google_sql_database_instance.ledger.name, google_sql_database.ledger.name, google_artifact_registry_repository.functions.repository_id],
      [for m in google_logging_metric.lines : m.name],
      [google_logging_metric.spend.name],
      [for p in concat(values(google_monitoring_alert_policy.lines), values(google_monitoring_alert_policy.figures), values(google_monitoring_alert_policy.silent)) : p.display_name],
      [for c in google_monitoring_notification_channel.email : c.display_name],
      [jsondecode(google_monitoring_dashboard.this.dashboard_json).displayName],
      [for n in google_compute_network.this : n.name],
      [for n in google_compute_subnetwork.this : n.name],
      [for n in google_compute_global_address.database : n.name],
      [for n in google_compute_backend_service.dashboard : n.name],
      [for n in google_compute_url_map.dashboard : n.name],
      [for n in google_compute_global_forwarding_rule.dashboard : n.name],
      [for n in google_kms_key_ring.this : n.name],
    ) : startswith(name, "other") || startswith(name, "account@")]) # the mock makes up one address for all accounts
    error_message = "A name lacks the prefix: another deployment in the project would want the same one."
  }
  assert {
    condition     = alltrue([for key, f in module.function : f.size.environment_variables["TOPIC_PREFIX"] == "other-"])
    error_message = "Functions would publish to another deployment's topics."
  }
  assert {
    condition     = alltrue(flatten([for f in module.function : [for name, value in f.size.environment_variables : startswith(value, "other-test-project-") if endswith(name, "_BUCKET")]]))
    error_message = "Functions would use another deployment's buckets."
  }
  assert {
    condition     = !can(regex("rowlift-", join(" ", output.grants)))
    error_message = "A grant is about another deployment."
  }
}

run "alerts_watch_only_this_deployment" {
  command = plan

  variables {
    name = "other"
  }

  assert {
    condition     = alltrue([for p in values(google_monitoring_alert_policy.figures) : can(regex("other", p.conditions[0].condition_threshold[0].filter)) && !can(regex("rowlift", p.conditions[0].condition_threshold[0].filter))])
    error_message = "An alert is about another deployment."
  }
  assert {
    condition     = toset(keys(google_monitoring_alert_policy.figures)) == toset(["connections", "dead-letters", "disk", "refusals", "server-errors", "unacknowledged"])
    error_message = "An alert is gone."
  }
  assert {
    condition     = google_monitoring_alert_policy.spend.conditions[0].condition_prometheus_query_language[0].query == "sum(increase(logging_googleapis_com:user_other_spend_sum{monitored_resource=\"cloud_run_revision\"}[1h])) > 10000000"
    error_message = "What upstreams are paid is watched for another deployment, or from elsewhere on than $10 an hour."
  }
  assert {
    condition     = length(jsondecode(google_monitoring_dashboard.this.dashboard_json).mosaicLayout.tiles) == 8
    error_message = "A chart is gone."
  }
  assert {
    condition     = alltrue([for p in concat(values(google_monitoring_alert_policy.lines), values(google_monitoring_alert_policy.figures), values(google_monitoring_alert_policy.silent)) : length(p.notification_channels) == 1])
    error_message = "An alert tells nobody."
  }
}

run "a_name_too_long_is_refused" {
  command = plan

  variables {
    name = "a-name-that-is-much-too-long"
  }

  expect_failures = [var.name]
}
