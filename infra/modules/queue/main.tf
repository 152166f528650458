# A topic, the subscriptions that push its messages to functions, and every grant this takes.

locals {
  # Subscriptions that give up at some point: Pub/Sub itself then publishes to the dead-letter topic, which is granted
  # there, and acknowledges.
  giving_up = { for key, one in var.subscriptions : key => one if one.dead_letter != null }
}

resource "google_pubsub_topic" "this" {
  #checkov:skip=CKV_GCP_83:encrypted with a key of the customer's where `customer_managed_keys` says so
  project      = var.project_id
  name         = var.name
  kms_key_name = var.key

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
}

resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = var.publishers

  project = var.project_id
  topic   = google_pubsub_topic.this.name
  role    = "roles/pubsub.publisher"
  member  = each.value
}

# Pushes are made as this account; all it may do is call the functions its subscriptions push to.
resource "google_service_account" "push" {
  project      = var.project_id
  account_id   = var.account
  display_name = "Pushes messages of ${var.name}"
}

resource "google_service_account_iam_member" "pubsub_signs_in" {
  service_account_id = google_service_account.push.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = var.pubsub_agent
}

resource "google_cloud_run_v2_service_iam_member" "push" {
  for_each = toset([for one in values(var.subscriptions) : one.function])

  project  = var.project_id
  location = var.region
  name     = var.targets[each.key].service
  role     = "roles/run.invoker"
  member   = google_service_account.push.member
}

resource "google_pubsub_subscription" "this" {
  for_each = var.subscriptions

  project                    = var.project_id
  name                       = "${var.prefix}${each.key}"
  topic                      = google_pubsub_topic.this.id
  ack_deadline_seconds       = each.value.ack_deadline
  message_retention_duration = "${7 * 24 * 3600}s"

  expiration_policy {
    ttl = "" # never, else 31 idle days would end it
  }

  retry_policy {
    minimum_backoff = "${each.value.min_backoff}s"
    maximum_backoff = "${each.value.max_backoff}s"
  }

  push_config {
    push_endpoint = var.targets[each.value.function].uri

    oidc_token {
      service_account_email = google_service_account.push.email
      audience              = var.targets[each.value.function].uri
    }
  }

  dynamic "dead_letter_policy" {
    for_each = each.value.dead_letter[*]
    content {
      dead_letter_topic     = var.dead_letter_topics[dead_letter_policy.value]
      max_delivery_attempts = each.value.max_delivery_attempts
    }
  }

  lifecycle {
    precondition {
      condition     = var.targets[each.value.function].timeout <= each.value.ack_deadline
      error_message = "Subscription ${each.key} waits ${each.value.ack_deadline} s for function ${each.value.function}, which may take ${var.targets[each.value.function].timeout} s: a push would be repeated while it is handled. Lower the function's timeout or raise ack_deadline."
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_member.push, google_service_account_iam_member.pubsub_signs_in]
}

resource "google_pubsub_subscription_iam_member" "gives_up" {
  for_each = local.giving_up

  project      = var.project_id
  subscription = google_pubsub_subscription.this[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = var.pubsub_agent
}
