# Plans that contradict themselves are refused here, before anything is made. What one resource can tell by itself is
# refused beside it: connections in database.tf, threads in modules/function, timeouts in modules/queue.

locals {
  # What a pipeline has where the topology does not say: the defaults of shared/config.py, which a test compares.
  pipeline_times = { request_timeout = 60, max_wait = 20, deadline = 100, lease = 130 }

  # Subscriptions of functions that hold leases, with the times that have to be in order.
  leases = {
    for key, subscription in local.subscriptions : key => merge(
      local.pipeline_times,
      local.topology.pipelines[local.functions[subscription.function].pipeline],
      { ack_deadline = subscription.ack_deadline },
    ) if local.functions[subscription.function].pipeline != null
  }

  late_leases     = [for key, times in local.leases : "${key} (lease ${times.lease} s, ack_deadline ${times.ack_deadline} s)" if times.lease < times.ack_deadline]
  late_handlers   = [for key, times in local.leases : "${key} (deadline ${times.deadline} s, ack_deadline ${times.ack_deadline} s)" if times.deadline >= times.ack_deadline]
  late_upstreams  = [for key, times in local.leases : "${key} (request_timeout ${times.request_timeout} s, max_wait ${times.max_wait} s, deadline ${times.deadline} s)" if times.request_timeout + times.max_wait >= times.deadline]
  unknown_topics  = setsubtract(flatten([values(local.publishes)[*], local.dead_letter_topics, [for s in values(local.subscriptions) : s.topic], compact([for b in values(local.buckets) : b.notify_topic])]), keys(local.topology.topics))
  unknown_access  = [for key, function in local.functions : key if length(setsubtract(values(function.buckets), keys(local.bucket_roles))) > 0 || length(setsubtract(keys(function.buckets), keys(local.buckets))) > 0]
  unknown_people  = [for key, bucket in local.buckets : key if bucket.people != null && !contains(keys(local.bucket_roles), coalesce(bucket.people, "read"))]
  unread_settings = setsubtract(keys(var.settings), flatten(values(local.listed)))
  own_settings    = setintersection(keys(var.settings), concat(keys(local.known), ["DB_POOL_SIZE", "PIPELINE", "THREADS"], tolist(local.secrets)))
}

resource "terraform_data" "agreement" {
  lifecycle {
    precondition {
      condition     = length(local.late_leases) == 0
      error_message = "A lease would end while Pub/Sub still waits for its worker, and another would begin the same items: ${join(", ", local.late_leases)}. A pipeline's lease is no shorter than its subscription's ack_deadline."
    }
    precondition {
      condition     = length(local.late_handlers) == 0
      error_message = "A push would be repeated while its handler still works: ${join(", ", local.late_handlers)}. A pipeline's deadline is shorter than its subscription's ack_deadline."
    }
    precondition {
      condition     = length(local.late_upstreams) == 0
      error_message = "An upstream could be waited for longer than the handler may take: ${join(", ", local.late_upstreams)}. request_timeout and max_wait together are shorter than deadline."
    }
    precondition {
      condition     = length(local.unknown_topics) == 0
      error_message = "The topology names topics that it does not describe: ${join(", ", local.unknown_topics)}."
    }
    precondition {
      condition     = length(local.unknown_access) == 0 && length(local.unknown_people) == 0
      error_message = "These functions and buckets name a bucket that is not described, or an access other than ${join(", ", keys(local.bucket_roles))}: ${join(", ", concat(local.unknown_access, local.unknown_people))}."
    }
    precondition {
      condition     = length(local.unread_settings) == 0
      error_message = "No function reads these settings: ${join(", ", local.unread_settings)}. The variables are listed in .env.example; the topology says which function reads which."
    }
    precondition {
      condition     = length(local.own_settings) == 0
      error_message = "These settings follow from the topology or are secrets, and cannot be chosen: ${join(", ", local.own_settings)}."
    }
  }
}
