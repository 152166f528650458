# What is planned is what the topology says: no function, topic, bucket or subscription more or less.

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
  archive    = "topology.yaml" # any file does
  users      = ["user:somebody@example.com"]
  deployers  = ["user:deployer@example.com"]
}

run "everything_of_the_topology" {
  command = plan

  assert {
    condition     = toset(keys(module.function)) == toset(keys(yamldecode(file("topology.yaml")).functions))
    error_message = "The functions are not those of the topology."
  }
  assert {
    condition = (
      toset(concat([for q in module.queue : q.topic_name], [for q in module.dead_letters : q.topic_name]))
      == toset([for key in keys(yamldecode(file("topology.yaml")).topics) : "rowlift-${key}"])
    )
    error_message = "The topics are not those of the topology."
  }
  assert {
    condition = (
      toset(flatten([for q in concat(values(module.queue), values(module.dead_letters)) : [for s in q.subscriptions : s.name]]))
      == toset([for key in keys(yamldecode(file("topology.yaml")).subscriptions) : "rowlift-${key}"])
    )
    error_message = "The subscriptions are not those of the topology."
  }
  assert {
    condition     = toset(keys(google_storage_bucket.this)) == toset(keys(yamldecode(file("topology.yaml")).buckets))
    error_message = "The buckets are not those of the topology."
  }
  assert {
    condition = (
      toset([for n in google_storage_notification.this : n.bucket])
      == toset([for key, b in yamldecode(file("topology.yaml")).buckets : "rowlift-test-project-${key}" if try(b.notify_topic, null) != null])
    )
    error_message = "Not the buckets that the topology says tell a topic of their objects."
  }
  assert {
    condition     = toset(keys(google_cloud_scheduler_job.this)) == toset(keys(yamldecode(file("topology.yaml")).schedules))
    error_message = "The scheduled jobs are not those of the topology."
  }
  assert {
    condition     = toset(keys(google_secret_manager_secret.this)) == toset(flatten([for f in yamldecode(file("topology.yaml")).functions : try(f.secrets, [])]))
    error_message = "The secrets are not those of the topology."
  }
}

run "functions_run_as_the_topology_says" {
  command = plan

  assert {
    condition = alltrue([
      for key, f in yamldecode(file("topology.yaml")).functions :
      module.function[key].size.max_instance_request_concurrency == f.threads
      && module.function[key].size.environment_variables["THREADS"] == tostring(f.threads)
      && module.function[key].size.environment_variables["DB_POOL_SIZE"] == tostring(f.pool_size)
      && module.function[key].size.available_memory == "${f.memory_mb}Mi"
      && module.function[key].size.timeout_seconds == f.timeout
      && module.function[key].size.min_instance_count == f.min_instances
      && module.function[key].size.max_instance_count == f.max_instances
      && module.function[key].size.available_cpu == "1"
      && module.function[key].size.environment_variables["PYTHONPATH"] == "/workspace"
      && module.function[key].size.environment_variables["LOG_EXECUTION_ID"] == "true"
    ])
    error_message = "Concurrency, threads, pool, memory, timeout or instances of a function are not the topology's."
  }
  assert {
    condition = alltrue(flatten([
      for f in module.function : [for s in f.size.secret_environment_variables : can(tonumber(s.version))]
    ]))
    error_message = "A secret is not pinned to a numbered version."
  }
  assert {
    condition = alltrue([
      for key, f in yamldecode(file("topology.yaml")).functions :
      module.function[key].size.ingress_settings == (try(f.people, false) ? "ALLOW_ALL" : "ALLOW_INTERNAL_ONLY")
    ])
    error_message = "A function that no person calls is open to the outside."
  }
  assert {
    condition     = google_storage_bucket_object.source.name == "source/${filesha256("topology.yaml")}.zip"
    error_message = "The archive's name does not hold its hash: new code would not be deployed."
  }
}

run "subscriptions_retry_and_give_up" {
  command = plan

  assert {
    condition = alltrue(flatten([
      for q in concat(values(module.queue), values(module.dead_letters)) : [
        for key, s in q.subscriptions :
        s.retry_policy[0].minimum_backoff == "${yamldecode(file("topology.yaml")).subscriptions[key].min_backoff}s"
        && s.retry_policy[0].maximum_backoff == "${yamldecode(file("topology.yaml")).subscriptions[key].max_backoff}s"
        && s.ack_deadline_seconds == yamldecode(file("topology.yaml")).subscriptions[key].ack_deadline
        && s.expiration_policy[0].ttl == ""
      ]
    ]))
    error_message = "A subscription has no retry policy, another deadline than the topology's, or expires."
  }
  assert {
    condition     = alltrue(flatten([for q in module.queue : [for s in q.subscriptions : length(s.dead_letter_policy) == 1 && s.dead_letter_policy[0].max_delivery_attempts >= 5]]))
    error_message = "A subscription never gives a message up."
  }
  assert {
    condition     = alltrue(flatten([for q in module.dead_letters : [for s in q.subscriptions : length(s.dead_letter_policy) == 0]])) && alltrue([for q in module.dead_letters : length(q.subscriptions) == 1])
    error_message = "Dead letters have one subscription, which gives nothing up: there is nowhere left to give it to."
  }
}

run "what_is_kept_is_guarded" {
  command = plan

  assert {
    condition = alltrue([
      for b in concat(values(google_storage_bucket.this), [google_storage_bucket.source]) :
      b.uniform_bucket_level_access && b.public_access_prevention == "enforced" && !b.force_destroy
    ])
    error_message = "A bucket can be opened to the public, has permissions of single objects, or is destroyed with what it holds."
  }
  assert {
    condition     = google_storage_bucket.this["uploads"].versioning[0].enabled && google_storage_bucket.source.versioning[0].enabled
    error_message = "An overwrite takes the bytes from the reader of the object before it."
  }
  assert {
    condition = anytrue([
      for rule in google_storage_bucket.this["uploads"].lifecycle_rule :
      one(rule.action).type == "Delete" && one(rule.condition).age == 7 && contains(coalesce(one(rule.condition).matches_prefix, []), "resume/")
    ])
    error_message = "Results of earlier runs stay under resume/ for ever."
  }
  assert {
    condition = (
      google_sql_database_instance.ledger.settings[0].edition == "ENTERPRISE"
      && google_sql_database_instance.ledger.settings[0].connector_enforcement == "REQUIRED"
      && google_sql_database_instance.ledger.settings[0].ip_configuration[0].ssl_mode == "ENCRYPTED_ONLY"
      && google_sql_database_instance.ledger.settings[0].backup_configuration[0].point_in_time_recovery_enabled
      && google_sql_database_instance.ledger.deletion_protection
      && google_sql_database_instance.ledger.settings[0].deletion_protection_enabled
      && length(google_sql_database_instance.ledger.settings[0].maintenance_window) == 1
      && google_sql_database_instance.ledger.settings[0].insights_config[0].query_insights_enabled
      && anytrue([for f in google_sql_database_instance.ledger.settings[0].database_flags : f.name == "cloudsql.iam_authentication" && f.value == "on"])
    )
    error_message = "The database lacks edition, enforced connector, TLS, point-in-time recovery, deletion protection, maintenance window, insights or IAM login."
  }
}
