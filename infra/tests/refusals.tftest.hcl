# Plans that contradict themselves are refused. Each topology here is the real one with one number changed, everywhere.

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
}

run "more_connections_than_the_database_has" {
  command = plan

  variables {
    database = { max_connections = 25 }
  }

  expect_failures = [google_sql_database_instance.ledger]
}

run "more_connections_after_the_topology_grew" {
  command = plan

  variables {
    topology = replace(file("topology.yaml"), "/max_instances: [0-9]+/", "max_instances: 100")
  }

  expect_failures = [google_sql_database_instance.ledger]
}

run "a_lease_shorter_than_the_ack_deadline" {
  command = plan

  variables {
    topology = replace(file("topology.yaml"), "/lease: [0-9]+/", "lease: 110")
  }

  expect_failures = [terraform_data.agreement]
}

run "a_handler_as_slow_as_the_ack_deadline" {
  command = plan

  variables {
    topology = replace(file("topology.yaml"), "/ deadline: [0-9]+/", " deadline: 600")
  }

  expect_failures = [terraform_data.agreement]
}

run "an_upstream_waited_for_longer_than_the_handler_may_take" {
  command = plan

  variables {
    topology = replace(file("topology.yaml"), "/request_timeout: [0-9]+/", "request_timeout: 100")
  }

  expect_failures = [terraform_data.agreement]
}

run "a_setting_nobody_reads" {
  command = plan

  variables {
    settings = { OPENAI_MODLE = "gpt" }
  }

  expect_failures = [terraform_data.agreement]
}

run "a_secret_among_the_settings" {
  command = plan

  variables {
    settings = { OPENAI_API_KEY = "sk-in-the-state" }
  }

  expect_failures = [terraform_data.agreement]
}

run "a_topic_nobody_described" {
  command = plan

  variables {
    topology = replace(file("topology.yaml"), "publishes: [pipelines, finalize]", "publishes: [pipelines, finalise]")
  }

  expect_failures = [terraform_data.agreement]
}

run "a_schedule_cloud_scheduler_cannot_keep" {
  command = plan

  variables {
    topology = replace(file("topology.yaml"), "every: 60", "every: 90")
  }

  expect_failures = [google_cloud_scheduler_job.this]
}

run "a_database_too_old" {
  command = plan

  variables {
    database = { version = "POSTGRES_14" }
  }

  expect_failures = [var.database]
}

run "no_archive" {
  command = plan

  variables {
    archive = "not-there.zip"
  }

  expect_failures = [var.archive]
}

# --- what a module refuses by itself ---

run "concurrency_other_than_threads" {
  command = plan

  module {
    source = "./modules/function"
  }

  variables {
    name        = "test-worker"
    description = "test"
    region      = "europe-west1"
    environment = { THREADS = "4", DB_POOL_SIZE = "4" }
    size        = { memory_mb = 512, concurrency = 16, timeout = 60, min_instances = 0, max_instances = 1 }
    source_code = { bucket = "b", object = "o", file = "f.py", entry_point = "f" }
    build       = { account = "projects/p/serviceAccounts/a", repository = "projects/p/locations/l/repositories/r" }
    database    = { instance = "i", connection_name = "p:r:i", name = "d" }
  }

  expect_failures = [google_cloudfunctions2_function.this]
}

run "a_pool_larger_than_the_threads" {
  command = plan

  module {
    source = "./modules/function"
  }

  variables {
    name        = "test-worker"
    description = "test"
    region      = "europe-west1"
    environment = { THREADS = "4", DB_POOL_SIZE = "8" }
    size        = { memory_mb = 512, concurrency = 4, timeout = 60, min_instances = 0, max_instances = 1 }
    source_code = { bucket = "b", object = "o", file = "f.py", entry_point = "f" }
    build       = { account = "projects/p/serviceAccounts/a", repository = "projects/p/locations/l/repositories/r" }
    database    = { instance = "i", connection_name = "p:r:i", name = "d" }
  }

  expect_failures = [google_cloudfunctions2_function.this]
}

run "a_name_too_long_for_an_account" {
  command = plan

  module {
    source = "./modules/function"
  }

  variables {
    name        = "rowlift-production-process-artists"
    description = "test"
    region      = "europe-west1"
    environment = { THREADS = "4", DB_POOL_SIZE = "4" }
    size        = { memory_mb = 512, concurrency = 4, timeout = 60, min_instances = 0, max_instances = 1 }
    source_code = { bucket = "b", object = "o", file = "f.py", entry_point = "f" }
    build       = { account = "projects/p/serviceAccounts/a", repository = "projects/p/locations/l/repositories/r" }
    database    = { instance = "i", connection_name = "p:r:i", name = "d" }
  }

  expect_failures = [var.name]
}

run "a_function_slower_than_the_ack_deadline" {
  command = plan

  module {
    source = "./modules/queue"
  }

  variables {
    name               = "test-things"
    prefix             = "test-"
    account            = "test-q-things"
    region             = "europe-west1"
    pubsub_agent       = "serviceAccount:agent@gcp-sa.iam.gserviceaccount.com"
    publishers         = {}
    dead_letter_topics = { dead = "projects/p/topics/dead" }
    targets            = { worker = { service = "test-worker", uri = "https://worker.example.invalid", timeout = 300 } }
    subscriptions = {
      things = { function = "worker", ack_deadline = 120, min_backoff = 1, max_backoff = 60, dead_letter = "dead", max_delivery_attempts = 50 }
    }
  }

  expect_failures = [google_pubsub_subscription.this]
}

run "attempts_without_dead_letters" {
  command = plan

  module {
    source = "./modules/queue"
  }

  variables {
    name         = "test-things"
    prefix       = "test-"
    account      = "test-q-things"
    region       = "europe-west1"
    pubsub_agent = "serviceAccount:agent@gcp-sa.iam.gserviceaccount.com"
    publishers   = {}
    targets      = { worker = { service = "test-worker", uri = "https://worker.example.invalid", timeout = 60 } }
    subscriptions = {
      things = { function = "worker", ack_deadline = 120, min_backoff = 1, max_backoff = 60, max_delivery_attempts = 50 }
    }
  }

  expect_failures = [var.subscriptions]
}
