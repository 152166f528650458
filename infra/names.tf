# What the topology says, with every default filled in, and the names that are made of it.

locals {
  topology = yamldecode(coalesce(var.topology, file("${path.module}/topology.yaml")))
  name     = coalesce(var.name, local.topology.name)

  # Buckets' names are taken all over the world, so they carry the project.
  buckets = {
    for key, bucket in local.topology.buckets : key => {
      name                    = "${local.name}-${var.project_id}-${key}"
      env                     = bucket.env
      notify_topic            = try(bucket.notify_topic, null)
      people                  = try(bucket.people, null)
      versioned               = try(bucket.versioned, false)
      delete_after_days       = try(bucket.delete_after_days, null)
      delete_after_days_under = try(bucket.delete_after_days_under, {})
    }
  }

  functions = {
    for key, function in local.topology.functions : key => merge(
      { pipeline = null, secrets = [], publishes = [], buckets = {}, people = false },
      function,
      { instances = var.most_instances == null ? function.max_instances : min(function.max_instances, var.most_instances) },
    )
  }

  # Topic -> the functions that may publish to it.
  pipeline_topics = [for pipeline in values(local.topology.pipelines) : pipeline.topic]
  publishes = {
    for key, function in local.functions :
    key => toset(flatten([for topic in function.publishes : topic == "pipelines" ? local.pipeline_topics : [topic]]))
  }
  publishers = {
    for topic in keys(local.topology.topics) : topic => sort([for key, topics in local.publishes : key if contains(topics, topic)])
  }

  subscriptions = {
    for key, subscription in local.topology.subscriptions :
    key => merge({ dead_letter = null, max_delivery_attempts = null }, subscription)
  }
  dead_letter_topics = distinct(compact([for subscription in values(local.subscriptions) : subscription.dead_letter]))

  secrets = toset(flatten([for function in values(local.functions) : function.secrets]))
  secret_ids = {
    for secret in local.secrets : secret => "${local.name}-${lower(replace(secret, "_", "-"))}"
  }

  # The kinds of access that the topology names, as roles on one bucket.
  bucket_roles = {
    read   = "roles/storage.objectViewer"
    create = "roles/storage.objectCreator"
    write  = "roles/storage.objectUser"
  }
}
