# One queue for each topic: who publishes to it, and whom its subscriptions push to. Topics of dead letters come first,
# because the others name them.

locals {
  pubsub_agent = google_project_service_identity.this["pubsub.googleapis.com"].member

  queues = {
    for topic in keys(local.topology.topics) : topic => {
      publishers    = { for function in local.publishers[topic] : function => module.function[function].member }
      subscriptions = { for key, subscription in local.subscriptions : key => subscription if subscription.topic == topic }
      buckets       = [for bucket in values(local.buckets) : bucket.name if bucket.notify_topic == topic]
    }
  }
}

module "dead_letters" {
  source   = "./modules/queue"
  for_each = toset(local.dead_letter_topics)

  name          = "${local.name}-${each.key}"
  prefix        = "${local.name}-"
  account       = "${local.name}-q-${each.key}"
  project_id    = var.project_id
  region        = var.region
  key           = local.key
  pubsub_agent  = local.pubsub_agent
  publishers    = merge(local.queues[each.key].publishers, { pubsub = local.pubsub_agent })
  subscriptions = local.queues[each.key].subscriptions
  targets       = local.push_targets

  depends_on = [google_kms_crypto_key_iam_member.services]
}

module "queue" {
  source   = "./modules/queue"
  for_each = setsubtract(keys(local.topology.topics), local.dead_letter_topics)

  name         = "${local.name}-${each.key}"
  prefix       = "${local.name}-"
  account      = "${local.name}-q-${each.key}"
  project_id   = var.project_id
  region       = var.region
  key          = local.key
  pubsub_agent = local.pubsub_agent
  publishers = merge(
    local.queues[each.key].publishers,
    length(local.queues[each.key].buckets) > 0 ? { storage = data.google_storage_project_service_account.this.member } : {},
  )
  subscriptions      = local.queues[each.key].subscriptions
  targets            = local.push_targets
  dead_letter_topics = { for key, queue in module.dead_letters : key => queue.topic }

  depends_on = [google_kms_crypto_key_iam_member.services]
}

locals {
  push_targets = {
    for key, function in module.function : key => { service = function.service, uri = function.uri, timeout = local.functions[key].timeout }
  }
}
