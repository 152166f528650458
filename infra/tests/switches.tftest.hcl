# The switches do what they say, and nothing of them is there while they are off.

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
  users      = ["user:somebody@example.com"]
}

run "all_off" {
  command = plan

  assert {
    condition = 0 == sum([
      length(google_compute_network.this), length(google_kms_crypto_key.this), length(google_compute_backend_service.dashboard),
      length(google_billing_budget.this), length(google_monitoring_notification_channel.email),
    ])
    error_message = "Something is made that nobody asked for."
  }
  assert {
    condition     = google_sql_database_instance.ledger.settings[0].ip_configuration[0].ipv4_enabled && alltrue([for f in module.function : !contains(f.environment, "CLOUD_SQL_IP_TYPE")])
    error_message = "Without private_ip the database has a public address, and functions use it."
  }
  assert {
    condition     = output.dashboard == null
    error_message = "There is no dashboard's domain."
  }
}

run "private_ip" {
  command = plan

  variables {
    private_ip = true
  }

  assert {
    condition     = !google_sql_database_instance.ledger.settings[0].ip_configuration[0].ipv4_enabled && google_sql_database_instance.ledger.settings[0].ip_configuration[0].private_network == google_compute_network.this[0].id
    error_message = "The database keeps its public address, or has no private one."
  }
  assert {
    condition = alltrue([for f in module.function :
      f.size.direct_vpc_egress == "VPC_EGRESS_PRIVATE_RANGES_ONLY"
      && f.size.direct_vpc_network_interface[0].subnetwork == google_compute_subnetwork.this[0].id
      && f.size.environment_variables["CLOUD_SQL_IP_TYPE"] == "private"
    ])
    error_message = "A function does not reach the private address, or does not know that it should."
  }
}

run "customer_managed_keys" {
  command = plan

  variables {
    customer_managed_keys = true
  }

  assert {
    condition = alltrue(concat(
      [for b in concat(values(google_storage_bucket.this), [google_storage_bucket.source]) : b.encryption[0].default_kms_key_name == google_kms_crypto_key.this[0].id],
      [google_sql_database_instance.ledger.encryption_key_name == google_kms_crypto_key.this[0].id],
      [google_artifact_registry_repository.functions.kms_key_name == google_kms_crypto_key.this[0].id],
      [for s in google_secret_manager_secret.this : s.replication[0].user_managed[0].replicas[0].customer_managed_encryption[0].kms_key_name == google_kms_crypto_key.this[0].id],
    ))
    error_message = "Something is kept under another key."
  }
}

run "dashboard_domain" {
  command = plan

  variables {
    dashboard_domain = "rowlift.example.com"
  }

  assert {
    condition     = google_compute_backend_service.dashboard[0].iap[0].enabled && google_compute_managed_ssl_certificate.dashboard[0].managed[0].domains[0] == "rowlift.example.com" && output.dashboard.url == "https://rowlift.example.com/"
    error_message = "The dashboard is not behind Identity-Aware Proxy, or not under its name."
  }
}

run "budget_and_alerts" {
  command = plan

  variables {
    budget = { billing_account = "012345-6789AB-CDEF01", monthly_usd = 200 }
    alerts = { emails = ["one@example.com", "two@example.com"] }
  }

  assert {
    condition     = google_billing_budget.this["this"].amount[0].specified_amount[0].units == "200" && length(google_billing_budget.this["this"].threshold_rules) == 3 && length(google_billing_budget.this["this"].all_updates_rule[0].monitoring_notification_channels) == 2
    error_message = "The budget's amount, thresholds or readers are not those that were asked for."
  }
}

run "deletion_protection_off" {
  command = plan

  variables {
    deletion_protection = false
  }

  assert {
    condition     = !google_sql_database_instance.ledger.deletion_protection && !google_sql_database_instance.ledger.settings[0].deletion_protection_enabled && alltrue([for b in google_storage_bucket.this : b.force_destroy])
    error_message = "A deployment that is to be destroyed whole cannot be."
  }
}

run "most_instances" {
  command = plan

  variables {
    most_instances = 1
    database       = { tier = "db-g1-small", max_connections = 100 }
  }

  assert {
    condition     = alltrue([for f in module.function : f.size.max_instance_count == 1])
    error_message = "A function may have more instances than most_instances."
  }
  assert {
    condition     = alltrue([for pipeline in values(jsondecode(module.function["ingest"].size.environment_variables["PIPELINES"])) : try(pipeline.instances, 1) == 1])
    error_message = "Quotes would count with instances that there cannot be."
  }
}

run "settings_reach_whom_the_topology_lists" {
  command = plan

  variables {
    settings = { OPENAI_MODEL = "some-model", INGEST_BUDGET = "400" }
  }

  assert {
    condition = alltrue([for key, f in module.function :
      contains(f.environment, "OPENAI_MODEL") == contains(yamldecode(file("topology.yaml")).functions[key].env, "OPENAI_MODEL")
      && contains(f.environment, "INGEST_BUDGET") == contains(yamldecode(file("topology.yaml")).functions[key].env, "INGEST_BUDGET")
    ])
    error_message = "A setting reaches a function that does not read it, or misses one that does."
  }
}
