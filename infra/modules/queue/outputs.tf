output "grants" {
  description = "Every grant this queue takes: role, resource, who."
  value = concat(
    [for who, grant in google_pubsub_topic_iam_member.publisher : "${grant.role} on topic ${var.name} to ${who}"],
    [for key, grant in google_pubsub_subscription_iam_member.gives_up : "${grant.role} on subscription ${var.prefix}${key} to pubsub"],
    [for key, grant in google_cloud_run_v2_service_iam_member.push : "${grant.role} on function ${var.prefix}${key} to ${var.account}"],
    ["${google_service_account_iam_member.pubsub_signs_in.role} on account ${var.account} to pubsub"],
  )
}

output "subscriptions" {
  description = "The subscriptions by their key in the topology."
  value       = google_pubsub_subscription.this
}

output "topic" {
  description = "The topic's id, once its publishers may publish."
  value       = google_pubsub_topic.this.id

  depends_on = [google_pubsub_topic_iam_member.publisher]
}

output "topic_name" {
  description = "The topic's full name."
  value       = google_pubsub_topic.this.name
}
