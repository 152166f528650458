# Every grant there is, written down: one that is not in this list fails here until it is, and until infra/README.md says
# why. What depends on the topology is computed from it. That no grant escapes `output.grants` is held by
# tests/unit/test_infra_plan.py, which counts those of the whole plan.

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
  deployers  = ["user:deployer@example.com"]
}

run "every_grant_is_expected" {
  command = plan

  assert {
    condition = toset(output.grants) == toset(concat(
      # Functions: their pipeline's topic, or those of all pipelines where they serve all.
      flatten([
        for key, f in yamldecode(file("topology.yaml")).functions : [
          for word in try(f.publishes, []) : [
            for topic in(word == "pipelines" ? [for p in yamldecode(file("topology.yaml")).pipelines : p.topic] : [word]) :
            "roles/pubsub.publisher on topic rowlift-${topic} to ${key}"
          ]
        ]
      ]),
      flatten([
        for key, f in yamldecode(file("topology.yaml")).functions : [
          for bucket, access in try(f.buckets, {}) :
          "${ { read = "roles/storage.objectViewer", create = "roles/storage.objectCreator", write = "roles/storage.objectUser" }[access]} on bucket ${bucket} to rowlift-${key}"
        ]
      ]),
      flatten([
        for key, f in yamldecode(file("topology.yaml")).functions : [
          for secret in try(f.secrets, []) : "roles/secretmanager.secretAccessor on secret ${secret} to rowlift-${key}"
        ]
      ]),
      flatten([
        for key in concat(keys(yamldecode(file("topology.yaml")).functions), ["deploy"]) : [
          for role in ["roles/cloudsql.client", "roles/cloudsql.instanceUser"] : "${role} on the database to rowlift-${key}"
        ]
      ]),
      # Pub/Sub and Cloud Storage themselves, and the account of each queue.
      [for b in yamldecode(file("topology.yaml")).buckets : "roles/pubsub.publisher on topic rowlift-${b.notify_topic} to storage" if try(b.notify_topic, null) != null],
      ["roles/pubsub.publisher on topic rowlift-dead-letters to pubsub"],
      [for key, s in yamldecode(file("topology.yaml")).subscriptions : "roles/pubsub.subscriber on subscription rowlift-${key} to pubsub" if try(s.dead_letter, null) != null],
      [for key in keys(yamldecode(file("topology.yaml")).topics) : "roles/iam.serviceAccountTokenCreator on account rowlift-q-${key} to pubsub"],
      [for s in yamldecode(file("topology.yaml")).subscriptions : "roles/run.invoker on function rowlift-${s.function} to rowlift-q-${s.topic}"],
      [for s in yamldecode(file("topology.yaml")).schedules : "roles/run.invoker on function rowlift-${s.function} to rowlift-scheduler"],
      # People and the build.
      flatten([
        for key, b in yamldecode(file("topology.yaml")).buckets : [
          for member in ["user:somebody@example.com", "user:deployer@example.com"] : "roles/storage.objectUser on bucket ${key} to ${member}"
        ] if try(b.people, null) == "write"
      ]),
      [
        "roles/run.invoker on function rowlift-api to user:somebody@example.com",
        "roles/run.invoker on function rowlift-api to user:deployer@example.com",
        "roles/iam.serviceAccountTokenCreator on account rowlift-deploy to user:deployer@example.com",
        "roles/storage.objectViewer on bucket source to rowlift-build",
        "roles/artifactregistry.writer on the repository to rowlift-build",
        "roles/logging.logWriter on the project to rowlift-build",
      ],
    ))
    error_message = "A grant is new, or one is gone: ${join("; ", output.grants)}"
  }
  assert {
    condition     = length(output.grants) == length(toset(output.grants))
    error_message = "A grant is made twice: taking one of them away takes both."
  }
  assert {
    condition     = length([for grant in output.grants : grant if can(regex("allUsers|allAuthenticatedUsers|roles/(owner|editor|viewer) ", grant))]) == 0
    error_message = "Somebody is given a basic role, or everybody is let in."
  }
}

run "the_switches_grant_what_they_need_and_no_more" {
  command = plan

  variables {
    customer_managed_keys = true
    dashboard_domain      = "rowlift.example.com"
    settings              = { TRACE_SAMPLE = "0.1" }
  }

  assert {
    condition = toset([for grant in output.grants : grant if can(regex("on the key|on the dashboard|to iap$|cloudtrace", grant))]) == toset(concat(
      [
        for service in ["artifactregistry", "cloudfunctions", "pubsub", "run", "secretmanager", "sqladmin", "storage"] :
        "roles/cloudkms.cryptoKeyEncrypterDecrypter on the key to ${service}.googleapis.com"
      ],
      ["roles/iap.httpsResourceAccessor on the dashboard to user:somebody@example.com", "roles/run.invoker on function rowlift-api to iap"],
      [for key in keys(yamldecode(file("topology.yaml")).functions) : "roles/cloudtrace.agent on the project to rowlift-${key}"],
    ))
    error_message = "The switches' grants are not those written down here: ${join("; ", output.grants)}"
  }
}

run "nobody_is_let_in_unless_named" {
  command = plan

  variables {
    users     = []
    deployers = []
  }

  assert {
    condition     = length([for grant in output.grants : grant if can(regex("on function rowlift-api|to user:", grant))]) == 0
    error_message = "Somebody may call the API whom nobody named."
  }
}

run "everybody_cannot_be_named" {
  command = plan

  variables {
    users = ["allUsers"]
  }

  expect_failures = [var.users]
}
